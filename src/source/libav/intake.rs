//! How much a stream may send without a picture, and what kind of content a server says that it sends.
//!
//! Demuxers and parsers of libavformat collect a picture until it is complete, however long it gets. So bytes are
//! counted where they come from the network, and reading ends with an error when there are too many. RTSP reads
//! beside that place; there, and in MPEG-TS, the parser's open picture is measured. All state belongs to the thread
//! that reads the stream.

use std::cell::{Cell, RefCell};
use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr;

use ffmpeg_next::ffi;

use super::LARGEST_PACKET;

/// What comes beside the bytes of a picture: heads of containers and what is read ahead.
const OVERHEAD: u64 = 1 << 20;

/// What each connection may read until the stream is recognised, beside one picture.
const PROBE: u64 = 6 << 20;

/// Connections that may: a playlist, its variants and their first segments. Otherwise a playlist without end would allow a
/// picture without end.
const PROBED: u32 = 8;

type Read = unsafe extern "C" fn(*mut c_void, *mut u8, c_int) -> c_int;
type Open = unsafe extern "C" fn(
    *mut ffi::AVFormatContext,
    *mut *mut ffi::AVIOContext,
    *const c_char,
    c_int,
    *mut *mut ffi::AVDictionary,
) -> c_int;

thread_local! {
    static READ: Cell<u64> = const { Cell::new(0) };
    static ALLOWED: Cell<u64> = const { Cell::new(u64::MAX) };
    static OPENED: Cell<u32> = const { Cell::new(0) };
    static IS_OVER: Cell<bool> = const { Cell::new(false) };
    static CONTENT_TYPE: RefCell<String> = const { RefCell::new(String::new()) };
    static ORIGINAL_READ: Cell<Option<Read>> = const { Cell::new(None) };
    static ORIGINAL_OPEN: Cell<Option<Open>> = const { Cell::new(None) };
}

/// Counts all that is opened through `context`, which has not been opened yet.
#[allow(unsafe_code)]
pub(super) fn count(context: &mut ffi::AVFormatContext) {
    READ.set(0);
    ALLOWED.set(LARGEST_PACKET as u64 + OVERHEAD);
    OPENED.set(0);
    IS_OVER.set(false);
    CONTENT_TYPE.take();
    ORIGINAL_OPEN.set(context.io_open);
    context.io_open = Some(open_counted);
}

/// A picture of the stream has come: the next one may be as large.
pub(super) fn picture_came() {
    READ.set(0);
    ALLOWED.set(LARGEST_PACKET as u64 + OVERHEAD);
}

/// Whether too much came without a picture. What was read last is not whole then.
pub(super) fn is_over() -> bool {
    IS_OVER.get()
}

/// What the server says that it sends, without parameters and in lower case: "text/html". Empty where it does not.
pub(super) fn content_type() -> String {
    CONTENT_TYPE.with_borrow(Clone::clone)
}

/// Whether a picture that the parsers of `context` collect is too large, which ends the stream. Without a context, whether
/// one was.
///
/// # Safety
/// This must run on the thread that reads `context`.
#[allow(unsafe_code)]
pub(super) unsafe fn parsers_hold_too_much(context: Option<&ffi::AVFormatContext>) -> bool {
    let Some(context) = context else { return is_over() };
    let count = usize::try_from(context.nb_streams).unwrap_or_default();
    let streams = if context.streams.is_null() { 0 } else { count };
    // SAFETY: libavformat keeps `nb_streams` streams there, and changes them and their parsers on this thread only,
    // never while it calls back.
    let longest = unsafe {
        (0..streams)
            .filter_map(|index| ffi::av_stream_get_parser(*context.streams.add(index)).as_ref())
            .map(|parser| parser.cur_offset.saturating_sub(parser.next_frame_offset))
            .max()
    };
    if longest.is_some_and(|bytes| usize::try_from(bytes).is_ok_and(|bytes| bytes > LARGEST_PACKET)) {
        IS_OVER.set(true);
    }
    is_over()
}

/// Opens a connection as libavformat does, and puts the count in front of its reading function.
#[allow(unsafe_code)]
unsafe extern "C" fn open_counted(
    context: *mut ffi::AVFormatContext,
    connection: *mut *mut ffi::AVIOContext,
    url: *const c_char,
    flags: c_int,
    options: *mut *mut ffi::AVDictionary,
) -> c_int {
    let Some(open) = ORIGINAL_OPEN.get() else { return ffi::AVERROR(libc::EINVAL) };
    // SAFETY: libavformat's own function gets libavformat's own arguments.
    let result = unsafe { open(context, connection, url, flags, options) };
    // SAFETY: libavformat gave the place for the connection, and has filled it where it succeeded.
    let opened = (result >= 0).then(|| unsafe { (*connection).as_mut() }).flatten();
    let Some(opened) = opened else { return result };
    // One function reads all protocols, so it need not be remembered for each connection.
    let original = opened.read_packet.filter(|read| *read as usize != read_counted as *const () as usize);
    if original.is_some() {
        ORIGINAL_READ.set(original);
        opened.read_packet = Some(read_counted);
    }
    if OPENED.get() < PROBED {
        OPENED.set(OPENED.get() + 1);
        ALLOWED.set(ALLOWED.get().saturating_add(PROBE));
    }
    let said = content_type_of(opened);
    CONTENT_TYPE.replace(said);
    result
}

/// The protocol's reading function, until too much has come.
#[allow(unsafe_code)]
unsafe extern "C" fn read_counted(protocol: *mut c_void, buffer: *mut u8, length: c_int) -> c_int {
    if READ.get() > ALLOWED.get() {
        IS_OVER.set(true);
    }
    let Some(read) = ORIGINAL_READ.get().filter(|_| !is_over()) else { return ffi::AVERROR(libc::EFBIG) };
    // SAFETY: the protocol's own function gets the arguments that it would have had.
    let result = unsafe { read(protocol, buffer, length) };
    READ.set(READ.get().saturating_add(u64::try_from(result).unwrap_or_default()));
    result
}

#[allow(unsafe_code)]
fn content_type_of(connection: &mut ffi::AVIOContext) -> String {
    let mut value: *mut u8 = ptr::null_mut();
    let connection = ptr::from_mut(connection).cast();
    // SAFETY: the connection begins with its class, as the function wants; `value` is a place for its answer, a
    // string with an end that belongs to us.
    let text = unsafe {
        let found = ffi::av_opt_get(connection, c"mime_type".as_ptr(), ffi::AV_OPT_SEARCH_CHILDREN, &raw mut value);
        let is_there = found >= 0 && !value.is_null();
        let text = is_there.then(|| CStr::from_ptr(value.cast()).to_string_lossy().into_owned());
        ffi::av_free(value.cast());
        text.unwrap_or_default()
    };
    text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}
