//! Fuzz target: what a camera says, from its description to its packets.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use super::*;
use crate::clock::SystemClock;

const FILE: &[u8] = include_bytes!("../../../tests/fixtures/gop.h264");
/// Stands between the answers of one conversation.
const NEXT: &[u8] = b"\n==\n";
const DESCRIPTION: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=x\r\nt=0 0\r\na=control:*\r\nm=video 0 RTP/AVP 96\r\n\
     a=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1;sprop-parameter-sets=Z0LACtpmJuBEAAADAAQAAAMAKDxImSA=,aMqPIA==\r\n\
     a=framerate:5\r\na=control:track1\r\n";
/// No conversation takes longer: a camera that is through hangs up.
const LIMIT: Duration = Duration::from_secs(30);

/// Answers to DESCRIBE, SETUP and PLAY, the last with some pictures behind it. `{cseq}` stands for the request's number.
fn conversation() -> Vec<u8> {
    let head = "RTSP/1.0 200 OK\r\nCSeq: {cseq}\r\n";
    let (description, length) = (DESCRIPTION, DESCRIPTION.len());
    let describe = format!("{head}Content-Type: application/sdp\r\nContent-Length: {length}\r\n\r\n{description}");
    let setup =
        format!("{head}Session: 1;timeout=60\r\nTransport: RTP/AVP/TCP;unicast;interleaved=0-1;ssrc=00000007\r\n\r\n");
    let play = format!("{head}Session: 1\r\nRTP-Info: url=track1;seq=1;rtptime=0\r\n\r\n");
    let mut packets = Vec::new();
    for (n, unit) in super::super::annexb::nal_units(FILE).take(6).enumerate() {
        let (number, time) = ((n as u16 + 1).to_be_bytes(), (n as u32 * 18_000).to_be_bytes());
        let rtp = [&[0x80, 0xe0][..], &number, &time, &[0, 0, 0, 7], unit].concat();
        packets.extend([b'$', 0]);
        packets.extend((rtp.len() as u16).to_be_bytes());
        packets.extend(rtp);
    }
    [describe.as_bytes(), NEXT, setup.as_bytes(), NEXT, play.as_bytes(), &packets].concat()
}

/// Gives one answer of `said` to each request, and hangs up after the last.
fn answer(mut connection: TcpStream, said: &[u8]) -> std::io::Result<()> {
    // Where more answers are left than the client has questions, both would wait.
    connection.set_read_timeout(Some(Duration::from_millis(100)))?;
    let mut rest = Some(said);
    while let Some(said) = rest {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            connection.read_exact(&mut byte)?;
            request.extend(byte);
        }
        let text = String::from_utf8_lossy(&request);
        let number = text.lines().find_map(|line| line.strip_prefix("CSeq: ")).unwrap_or("1").to_owned();
        let end = said.windows(NEXT.len()).position(|window| window == NEXT);
        let (now, after) = end.map_or((said, None), |end| (&said[..end], Some(&said[end + NEXT.len()..])));
        rest = after;
        let place = now.windows(6).position(|window| window == b"{cseq}");
        let now = place.map_or_else(|| now.to_vec(), |at| [&now[..at], number.as_bytes(), &now[at + 6..]].concat());
        connection.write_all(&now)?;
    }
    Ok(())
}

async fn play(url: Url) -> String {
    let config = Config { url: url.to_string(), transport: Transport::Tcp, ..Config::default() };
    let mut source = match connect(&config, url, "camera".to_owned(), Arc::new(SystemClock::new())).await {
        Ok(source) => source,
        Err(error) => return crate::fuzz::kind(&error.to_string()),
    };
    let mut packets = 0;
    loop {
        match source.next().await {
            Ok(_) => packets += 1,
            Err(error) => return format!("{packets} packets, {}", crate::fuzz::kind(&error.to_string())),
        }
    }
}

#[test]
fn whatever_a_camera_says_the_session_ends_with_packets_or_a_reason() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let words = [
        "{cseq}",
        "RTSP/1.0 401 Unauthorized",
        "WWW-Authenticate: Digest realm=\"x\", nonce=\"y\"\r\n",
        "\r\n\r\n",
        "\r\n",
        "m=audio 0 RTP/AVP 0\r\n",
        "a=fmtp:96 ",
        "H265/90000",
        "JPEG/90000",
        "sprop-vps=",
        "\x7c\u{85}",
        "\x5c",
        "interleaved=",
    ];
    crate::fuzz::run("rtsp", &[&conversation()], &words, |input| {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let port = listener.local_addr().expect("address").port();
        let url = Url::parse(&format!("rtsp://127.0.0.1:{port}/x")).expect("valid");
        std::thread::scope(|scope| {
            let camera = scope.spawn(|| listener.accept().map(|(connection, _)| answer(connection, input)));
            let outcome = runtime.block_on(async { tokio::time::timeout(LIMIT, play(url)).await });
            // Lets the camera go where no client came.
            let _ = TcpStream::connect(("127.0.0.1", port));
            let _ = camera.join();
            outcome.unwrap_or_else(|_| panic!("waits for a camera that hung up"))
        })
    });
}
