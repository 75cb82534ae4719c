#!/usr/bin/python3
"""A camera for the tests: serves clips over RTSP, each in an endless loop with timestamps that only grow.

    rtsp_server.py --port 8554 --auth digest --user cam --password secret --mount /gate=h264:people.mp4

A coding with a sound behind it, `h264+aac`, has a tone beside the pictures; `aac`, `opus`, `pcmu` or `pcma`.

The pictures of a clip are read once, by GStreamer's own demuxer and parser, and handed out again and
again with fresh timestamps; a client that connects to an idle mount sees the clip from its first
picture. Clients of one mount share one stream, as with most cameras. "READY" on standard output says
that connections are accepted. Needs Debian's python3-gi and gir1.2-gst-rtsp-server-1.0.
"""

import argparse
import pathlib
import signal
import sys
from dataclasses import dataclass

import gi

for module in ("Gst", "GstApp", "GstRtsp", "GstRtspServer"):
    gi.require_version(module, "1.0")
from gi.repository import GLib, Gst, GstApp, GstRtsp, GstRtspServer  # noqa: E402

HOST = "127.0.0.1"
ROLE = "viewer"
READ_TIMEOUT = 10 * Gst.SECOND


@dataclass(frozen=True)
class Codec:
    """How a coding is cut into access units, and how those are put into RTP."""

    access_units: str
    payloader: str


CODECS = {
    "h264": Codec(
        "h264parse ! video/x-h264,stream-format=byte-stream,alignment=au",
        # Parameter sets before every key frame, as cameras send them.
        "h264parse ! rtph264pay name=pay0 pt=96 config-interval=-1",
    ),
    "h265": Codec(
        "h265parse ! video/x-h265,stream-format=byte-stream,alignment=au",
        "h265parse ! rtph265pay name=pay0 pt=96 config-interval=-1",
    ),
    "mjpeg": Codec("jpegparse", "rtpjpegpay name=pay0 pt=26"),
}

# A tone, as a microphone gives it.
SOUNDS = {
    "aac": "audio/x-raw,rate=16000,channels=1 ! voaacenc ! aacparse ! rtpmp4gpay name=pay1 pt=97",
    "opus": "audio/x-raw,rate=48000,channels=1 ! opusenc ! rtpopuspay name=pay1 pt=97",
    "pcmu": "audio/x-raw,rate=8000,channels=1 ! mulawenc ! rtppcmupay name=pay1 pt=0",
    "pcma": "audio/x-raw,rate=8000,channels=1 ! alawenc ! rtppcmapay name=pay1 pt=8",
}

DEMUXERS = {".mp4": "qtdemux", ".mkv": "matroskademux"}


class Clip:
    """All access units of one file, in memory."""

    def __init__(self, codec, path):
        self.codec = codec
        self.caps = None
        self.units = []  # (bytes, is key frame)
        stamps = []
        for sample in self._samples(path):
            buffer = sample.get_buffer()
            self.caps = sample.get_caps()
            self.units.append((buffer.extract_dup(0, buffer.get_size()), not buffer.has_flags(Gst.BufferFlags.DELTA_UNIT)))
            stamps.append(buffer.pts)
        if len(self.units) < 2:
            raise ValueError(f"{path}: fewer than two pictures")
        self.interval = (max(stamps) - min(stamps)) // (len(stamps) - 1)
        # Where each picture stands among those that are shown; B-frames come after what is shown later.
        order = sorted(range(len(stamps)), key=stamps.__getitem__)
        self.ranks = [order.index(position) for position in range(len(stamps))]
        self.depth = max(position - rank for position, rank in enumerate(self.ranks))

    def _samples(self, path):
        pipeline = Gst.parse_launch(
            f"filesrc name=file ! {DEMUXERS[path.suffix]} ! {self.codec.access_units} ! appsink name=units sync=false"
        )
        pipeline.get_by_name("file").set_property("location", str(path))
        units = pipeline.get_by_name("units")
        pipeline.set_state(Gst.State.PLAYING)
        try:
            while (sample := units.try_pull_sample(READ_TIMEOUT)) is not None:
                yield sample
            failure = pipeline.get_bus().pop_filtered(Gst.MessageType.ERROR)
            if failure is not None:
                raise ValueError(f"{path}: {failure.parse_error().gerror.message}")
            if not units.is_eos():
                raise ValueError(f"{path}: no end within {READ_TIMEOUT // Gst.SECOND} s")
        finally:
            pipeline.set_state(Gst.State.NULL)


class Playback:
    """One run of a clip, from the first client to the last: feeds an appsrc at the pace that it asks for."""

    def __init__(self, clip, source):
        self.clip = clip
        self.position = 0
        source.set_property("caps", clip.caps)
        source.connect("need-data", self._push)

    def _push(self, source, _wanted_bytes):
        place = self.position % len(self.clip.units)
        data, is_key = self.clip.units[place]
        shown = self.position - place + self.clip.ranks[place] + self.clip.depth
        buffer = Gst.Buffer.new_wrapped(data)
        buffer.dts = self.position * self.clip.interval
        buffer.pts = shown * self.clip.interval
        buffer.duration = self.clip.interval
        if not is_key:
            buffer.set_flags(Gst.BufferFlags.DELTA_UNIT)
        self.position += 1
        source.emit("push-buffer", buffer)


def mount_point(clip, sound, tcp_only):
    """A factory whose media plays `clip`."""
    factory = GstRtspServer.RTSPMediaFactory()
    tone = f"audiotestsrc is-live=true ! audioconvert ! audioresample ! {SOUNDS[sound]}" if sound else ""
    factory.set_launch(
        f"( appsrc name=clip is-live=true format=time max-bytes=0 max-buffers=3 ! {clip.codec.payloader} {tone} )"
    )
    factory.set_shared(True)
    if tcp_only:
        factory.set_protocols(GstRtsp.RTSPLowerTrans.TCP)
    # A media outlives its factory's signal, so its playback is tied to it by the appsrc's own handler.
    factory.connect("media-configure", lambda _f, media: Playback(clip, media.get_element().get_by_name_recurse_up("clip")))
    return factory


def authentication(scheme, user, password):
    """The server's door: one user, by Basic or Digest."""
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", ROLE)
    auth = GstRtspServer.RTSPAuth()
    auth.set_realm("camera")
    if scheme == "basic":
        auth.set_supported_methods(GstRtsp.RTSPAuthMethod.BASIC)
        auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
    else:
        auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
        auth.add_digest(user, password, token)
    return auth


def permissions():
    """What the one user may do: everything."""
    granted = GstRtspServer.RTSPPermissions()
    for action in ("access", "construct"):
        granted.add_permission_for_role(ROLE, f"media.factory.{action}", True)
    return granted


def note_setup(_client, context):
    """A stream is asked for: pictures are stream=0, a sound is stream=1."""
    print(f"SETUP {context.uri.abspath if context.uri else ''}", flush=True)


def parse_mount(text):
    """`/path=codec:file` or `/path=codec+sound:file`, in its four parts."""
    path, _, rest = text.partition("=")
    codec, _, name = rest.partition(":")
    codec, _, sound = codec.partition("+")
    file = pathlib.Path(name)
    if not path.startswith("/") or codec not in CODECS or (sound and sound not in SOUNDS) or file.suffix not in DEMUXERS:
        raise argparse.ArgumentTypeError(f"{text!r} is not /path=h264|h265|mjpeg[+SOUND]:file.mp4|file.mkv")
    return path, CODECS[codec], sound, file


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--auth", choices=("none", "basic", "digest"), default="none")
    parser.add_argument("--user", default="cam")
    parser.add_argument("--password", default="")
    parser.add_argument("--tcp-only", action="store_true", help="refuse UDP, as cameras behind some recorders do")
    parser.add_argument("--mount", type=parse_mount, action="append", required=True, metavar="/PATH=CODEC:FILE")
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address(HOST)
    server.set_service(str(arguments.port))
    for path, codec, sound, file in arguments.mount:
        factory = mount_point(Clip(codec, file), sound, arguments.tcp_only)
        if arguments.auth != "none":
            factory.set_permissions(permissions())
        server.get_mount_points().add_factory(path, factory)
    if arguments.auth != "none":
        server.set_auth(authentication(arguments.auth, arguments.user, arguments.password))
    # What is asked for stands in the log.
    server.connect("client-connected", lambda _server, client: client.connect("setup-request", note_setup))
    if server.attach(None) == 0:
        sys.exit(f"port {arguments.port} cannot be had")
    print("READY", flush=True)
    loop = GLib.MainLoop()
    GLib.unix_signal_add(GLib.PRIORITY_HIGH, signal.SIGTERM, loop.quit)
    loop.run()


if __name__ == "__main__":
    main()
