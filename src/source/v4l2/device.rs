//! A V4L2 device, opened and set to the format that we want.

use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use v4l::capability::Flags;
use v4l::format::FourCC;
use v4l::frameinterval::FrameIntervalEnum;
use v4l::framesize::FrameSizeEnum;
use v4l::video::Capture;
use v4l::video::capture::Parameters;
use v4l::{Device, Format, Fraction};

use super::super::error::plain;
use super::super::{Config, Device as Found, SourceError};
use super::choose::{self, Coding, IntervalOffer, SizeOffer};

/// An open device and what it agreed to.
pub(super) struct Camera {
    pub(super) device: Device,
    pub(super) coding: Coding,
    pub(super) width: u32,
    pub(super) height: u32,
    /// Bytes from one row to the next, uncompressed formats only.
    pub(super) stride: usize,
    pub(super) fps: Option<f32>,
}

impl Camera {
    pub(super) fn open(path: &Path, config: &Config) -> Result<Self, SourceError> {
        let device = open(path)?;
        check_capabilities(path, &device)?;
        let fault_of = |e: io::Error| fault(path, "it cannot be set up", &e);
        let offered: Vec<_> = device.enum_formats().map_err(fault_of)?.iter().map(|f| f.fourcc.repr).collect();
        let (coding, fourcc) = choose::pick_coding(config.format, &offered).map_err(|e| unsupported(path, e))?;
        let fourcc = FourCC::new(&fourcc);
        let wish = config.width.zip(config.height).unwrap_or(choose::USUAL_SIZE);
        // Not every driver can list its sizes; such a driver adjusts what it is asked for.
        let sizes: Vec<_> = device.enum_framesizes(fourcc).unwrap_or_default().iter().map(size_offer).collect();
        let (width, height) = choose::pick_size(wish, &sizes);
        let format = device.set_format(&Format::new(width, height, fourcc)).map_err(fault_of)?;
        if format.fourcc != fourcc || format.width == 0 || format.height == 0 {
            let reason = format!("asked for {fourcc} {width}x{height} it gave {}", format.fourcc);
            return Err(SourceError::Protocol { what: path.display().to_string(), reason });
        }
        let fps = set_rate(&device, config.fps.unwrap_or(choose::USUAL_FPS), &format);
        let stride = usize::try_from(format.stride).unwrap_or_default();
        Ok(Self { device, coding, width: format.width, height: format.height, stride, fps })
    }
}

/// Sets the rate where the driver lets us, and returns what it runs at where it says.
fn set_rate(device: &Device, wish: u32, format: &Format) -> Option<f32> {
    let listed = device.enum_frameintervals(format.fourcc, format.width, format.height).unwrap_or_default();
    let offers: Vec<_> = listed.iter().map(|i| interval_offer(&i.interval)).collect();
    let (numerator, denominator) = choose::pick_interval(wish, &offers);
    let asked = device.set_params(&Parameters::new(Fraction::new(numerator, denominator)));
    let got = asked.or_else(|_| device.params()).ok()?.interval;
    #[allow(clippy::cast_possible_truncation)]
    let fps = choose::frames_per_second((got.numerator, got.denominator)) as f32;
    (fps > 0.0).then_some(fps)
}

fn open(path: &Path) -> Result<Device, SourceError> {
    let what = || path.display().to_string();
    match std::fs::metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let reason = match present().as_slice() {
                [] => "no such device, and no other video device is present; check the cable".to_owned(),
                others => format!("no such device; the devices present are {}", others.join(", ")),
            };
            return Err(SourceError::NotFound { what: what(), reason });
        }
        Ok(meta) if !meta.file_type().is_char_device() => return Err(unsupported(path, "it is not a device")),
        _ => {}
    }
    Device::with_path(path).map_err(|e| match e.raw_os_error() {
        Some(libc::EACCES | libc::EPERM) => SourceError::Unauthorised {
            what: what(),
            reason: "permission denied, let this service's user be a member of the group video".to_owned(),
        },
        Some(libc::ENODEV | libc::ENXIO) => {
            SourceError::NotFound { what: what(), reason: "the device is gone, check the cable".to_owned() }
        }
        _ => fault(path, "it cannot be opened", &e),
    })
}

fn check_capabilities(path: &Path, device: &Device) -> Result<(), SourceError> {
    let capabilities = device.query_caps().map_err(|e| match e.raw_os_error() {
        Some(libc::ENOTTY | libc::EINVAL) => unsupported(path, "it is not a video device"),
        _ => fault(path, "it cannot be queried", &e),
    })?;
    let (flags, card) = (capabilities.capabilities, capabilities.card);
    if !flags.contains(Flags::VIDEO_CAPTURE) {
        let reason = if flags.contains(Flags::VIDEO_CAPTURE_MPLANE) {
            format!("{card} gives pictures in several planes, which is not supported; feed it through v4l2loopback")
        } else {
            format!("{card} does not capture video on this node; the devices present are {}", present().join(", "))
        };
        return Err(unsupported(path, reason));
    }
    if !flags.contains(Flags::STREAMING) {
        return Err(unsupported(path, format!("{card} cannot stream")));
    }
    Ok(())
}

/// What an I/O error of a device means.
pub(super) fn fault(path: &Path, doing: &str, error: &io::Error) -> SourceError {
    let what = path.display().to_string();
    match error.raw_os_error() {
        Some(libc::EBUSY) => SourceError::Busy { what, reason: format!("{} uses it", holder(path)) },
        Some(libc::ENODEV | libc::ENXIO) => SourceError::Lost { what, reason: "it was unplugged".to_owned() },
        _ => SourceError::Lost { what, reason: format!("{doing} ({}), check cable and power", plain(error)) },
    }
}

pub(super) fn unsupported(path: &Path, reason: impl Into<String>) -> SourceError {
    SourceError::Unsupported { what: path.display().to_string(), reason: reason.into() }
}

/// The video devices of this box, with the names that they give themselves.
fn present() -> Vec<String> {
    let label = |node: &String| {
        let card = card(node);
        if card.is_empty() { format!("/dev/{node}") } else { format!("/dev/{node} ({card})") }
    };
    nodes().iter().map(label).collect()
}

fn nodes() -> Vec<String> {
    let entries = std::fs::read_dir("/dev").into_iter().flatten().flatten();
    let names = entries.filter_map(|e| e.file_name().into_string().ok());
    let mut nodes: Vec<_> = names.filter(|name| name.starts_with("video")).collect();
    nodes.sort_by_key(|name| (name.len(), name.clone()));
    nodes
}

fn card(node: &str) -> String {
    let card = std::fs::read_to_string(format!("/sys/class/video4linux/{node}/name")).unwrap_or_default();
    card.trim().to_owned()
}

/// The nodes that capture video, with what they give. One that cannot be opened is listed all the same: its permissions
/// are what a person has to mend.
pub(in crate::source) fn devices() -> Vec<Found> {
    let found = |node: &String| {
        let path = Path::new("/dev").join(node);
        let (source, name) = (format!("v4l2:{}", path.display()), card(node));
        let Ok(device) = Device::with_path(&path) else {
            return Some(Found { source, name, driver: String::new(), formats: Vec::new() });
        };
        let about = device.query_caps().ok()?;
        if !about.capabilities.contains(Flags::VIDEO_CAPTURE) {
            return None;
        }
        let formats = device.enum_formats().unwrap_or_default();
        let formats = formats.iter().filter_map(|format| Some(format.fourcc.str().ok()?.to_owned())).collect();
        Some(Found { source, name, driver: about.driver, formats })
    };
    nodes().iter().filter_map(found).collect()
}

/// The program that holds the device open, as far as this user may see others' files.
fn holder(path: &Path) -> String {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    for process in processes {
        let Some(pid) = process.file_name().to_str().and_then(|s| s.parse::<u32>().ok()) else { continue };
        if pid == std::process::id() {
            continue;
        }
        let files = std::fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten();
        if files.filter_map(|file| std::fs::read_link(file.path()).ok()).any(|target| target == path) {
            let name = std::fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return format!("{} (process {pid})", name.trim());
        }
    }
    "another program, or another camera in this config,".to_owned()
}

fn size_offer(listed: &v4l::framesize::FrameSize) -> SizeOffer {
    match &listed.size {
        FrameSizeEnum::Discrete(size) => {
            let size = (size.width, size.height);
            SizeOffer { min: size, max: size, step: (0, 0) }
        }
        FrameSizeEnum::Stepwise(range) => SizeOffer {
            min: (range.min_width, range.min_height),
            max: (range.max_width, range.max_height),
            step: (range.step_width, range.step_height),
        },
    }
}

fn interval_offer(listed: &FrameIntervalEnum) -> IntervalOffer {
    let pair = |fraction: &Fraction| (fraction.numerator, fraction.denominator);
    match listed {
        FrameIntervalEnum::Discrete(interval) => IntervalOffer { shortest: pair(interval), longest: pair(interval) },
        FrameIntervalEnum::Stepwise(range) => IntervalOffer { shortest: pair(&range.min), longest: pair(&range.max) },
    }
}
