//! H.264 files that begin without an IDR picture: with a recovery point of an open GOP, or an I picture.
//!
//! The pictures that follow may say that pictures are no longer needed that were sent before the file began. There is
//! nothing to let go of then, which some decoders (FFmpeg, with a remark) do not mind, and others take for damage: Chromium
//! stops. So those commands are taken out of the slice headers, up to the next IDR picture. A picture that has no other
//! commands gets the usual marking, which lets the oldest reference go where there are too many: decoders that fill up the
//! numbers before the first picture have references that nothing else would end.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::bits::{BitWriter, Bits, escaped, last_one, unescaped};
use super::params::{Framing, as_units, units};
use crate::frame::Codec;

/// No slice header is longer, with weights for all its references.
const LONGEST_HEADER: usize = 2048;

const SLICE: u8 = 1;
const SLICE_PARTITION: u8 = 2;
const IDR_SLICE: u8 = 5;
const SEQUENCE: u8 = 7;
const PICTURE: u8 = 8;

/// Commands that say that a picture is no longer a short-term reference (H.264 table 7-9).
const FORGET_SHORT: u32 = 1;
const SHORT_TO_LONG: u32 = 3;
const FORGET_ALL: u32 = 5;

/// The part of a sequence parameter set that slice headers are read with.
#[derive(Clone, Copy)]
struct Sequence {
    separate_planes: bool,
    has_chroma: bool,
    frame_num_bits: u32,
    order_type: u32,
    order_bits: u32,
    delta_always_zero: bool,
    frames_only: bool,
}

/// The part of a picture parameter set.
#[derive(Clone, Copy)]
struct Picture {
    sequence: u32,
    is_cabac: bool,
    has_order_in_frame: bool,
    references: [u32; 2],
    weighted: bool,
    weighted_bi: bool,
    has_deblocking: bool,
    has_redundant: bool,
}

/// Follows the pictures from the beginning of a file.
pub(super) struct Joined {
    framing: Framing,
    sequences: BTreeMap<u32, Sequence>,
    pictures: BTreeMap<u32, Picture>,
    /// The number of the latest picture, and how far it is from that of the first.
    last: Option<(u32, i64)>,
    is_over: bool,
}

impl Joined {
    /// For a stream with these parameters; `None` for other codecs than H.264.
    pub(super) fn of(codec: &Codec, extradata: &[u8]) -> Option<Self> {
        let framing = Framing::of(codec, extradata);
        let mut joined =
            Self { framing, sequences: BTreeMap::new(), pictures: BTreeMap::new(), last: None, is_over: false };
        units(framing, &as_units(codec, extradata)).for_each(|unit| joined.learn(unit));
        (*codec == Codec::H264).then_some(joined)
    }

    /// The access unit without commands about pictures before the file; `None` where there are none.
    pub(super) fn mended(&mut self, data: &[u8]) -> Option<Bytes> {
        if self.is_over {
            return None;
        }
        let (mut out, mut is_changed) = (Vec::new(), false);
        for unit in units(self.framing, data) {
            self.learn(unit);
            let mended = match unit.first()? & 0x1f {
                IDR_SLICE | SLICE_PARTITION => {
                    self.is_over = true;
                    return None;
                }
                SLICE => self.slice(unit),
                _ => None,
            };
            is_changed |= mended.is_some();
            self.framing.push(&mut out, mended.as_deref().unwrap_or(unit));
        }
        is_changed.then(|| out.into())
    }

    /// Whether nothing behind this picture refers to anything before it.
    pub(super) fn is_idr(&self, data: &[u8]) -> bool {
        units(self.framing, data).any(|unit| unit.first().is_some_and(|header| header & 0x1f == IDR_SLICE))
    }

    fn learn(&mut self, unit: &[u8]) {
        match unit.first().map(|header| header & 0x1f) {
            Some(SEQUENCE) => {
                let body = unescaped(unit, usize::MAX);
                self.sequences.extend(body.get(1..).and_then(sequence));
            }
            Some(PICTURE) => {
                let body = unescaped(unit, usize::MAX);
                self.pictures.extend(body.get(1..).and_then(picture));
            }
            _ => {}
        }
    }

    /// The slice without those commands, where it has any.
    fn slice(&mut self, unit: &[u8]) -> Option<Vec<u8>> {
        let header = unescaped(unit, LONGEST_HEADER);
        let (sequences, pictures) = (&self.sequences, &self.pictures);
        let Some(slice) = read_slice(&header, |id| {
            let picture = pictures.get(&id)?;
            Some((*sequences.get(&picture.sequence)?, *picture))
        }) else {
            // What cannot be read is left as it is.
            return None;
        };
        let ahead = match self.last {
            Some((last, ahead)) => ahead + i64::from(slice.frame_num.wrapping_sub(last) & slice.most_frame_num),
            None => 0,
        };
        self.last = Some((slice.frame_num, ahead));
        self.is_over |= slice.commands.iter().any(|command| command.kind == FORGET_ALL);
        let is_before = |command: &&Command| {
            matches!(command.kind, FORGET_SHORT | SHORT_TO_LONG)
                && command.distance.is_some_and(|back| ahead - back < 0)
        };
        let gone: Vec<&Command> = slice.commands.iter().filter(is_before).collect();
        if gone.is_empty() || slice.is_field {
            return None;
        }
        Some(without(&unescaped(unit, usize::MAX), &slice, &gone))
    }
}

/// The unit without these commands.
fn without(body: &[u8], slice: &Slice, gone: &[&Command]) -> Vec<u8> {
    let (mut out, mut from) = (BitWriter::default(), 0);
    let (begin, end) = slice.marking;
    if gone.len() == slice.commands.len() {
        out.copy(body, 0, begin);
        out.push(false);
        from = end;
    } else {
        for command in gone {
            out.copy(body, from, command.from);
            from = command.to;
        }
    }
    out.copy(body, from, slice.end);
    if slice.is_cabac {
        out.align_and_append(body.get(slice.end.div_ceil(8)..).unwrap_or_default());
    } else {
        out.copy(body, slice.end, last_one(body).map_or(0, |last| last + 1));
    }
    escaped(&out.into_bytes())
}

/// What a slice header says.
struct Slice {
    frame_num: u32,
    most_frame_num: u32,
    is_field: bool,
    is_cabac: bool,
    commands: Vec<Command>,
    /// Where they begin and end, with the flag in front of them, in bits.
    marking: (usize, usize),
    /// Where the header ends, in bits.
    end: usize,
}

/// One memory management command.
struct Command {
    kind: u32,
    /// Which picture it is about: so many numbers back.
    distance: Option<i64>,
    /// Where it stands, in bits.
    from: usize,
    to: usize,
}

/// Reads the header of a slice that is not of an IDR picture (H.264 7.3.3).
fn read_slice(unit: &[u8], parameters: impl Fn(u32) -> Option<(Sequence, Picture)>) -> Option<Slice> {
    let mut bits = Bits::new(unit);
    let is_reference = bits.fixed(8)? >> 5 & 3 != 0;
    bits.number()?;
    let kind = bits.number()? % 5;
    let (is_p, is_b) = (kind == 0, kind == 1);
    // Switching slices are of a profile that no camera has.
    if kind > 2 {
        return None;
    }
    let (sequence, picture) = parameters(bits.number()?)?;
    if sequence.separate_planes {
        bits.fixed(2)?;
    }
    let frame_num = bits.fixed(sequence.frame_num_bits)?;
    let is_field = !sequence.frames_only && bits.flag()?;
    if is_field {
        bits.flag()?;
    }
    let has_second = picture.has_order_in_frame && !is_field;
    match sequence.order_type {
        0 => {
            bits.fixed(sequence.order_bits)?;
            if has_second {
                bits.signed()?;
            }
        }
        1 if !sequence.delta_always_zero => {
            bits.signed()?;
            if has_second {
                bits.signed()?;
            }
        }
        _ => {}
    }
    if picture.has_redundant {
        bits.number()?;
    }
    if is_b {
        bits.flag()?;
    }
    let mut references = picture.references;
    if (is_p || is_b) && bits.flag()? {
        references[0] = bits.number()?.checked_add(1)?;
        if is_b {
            references[1] = bits.number()?.checked_add(1)?;
        }
    }
    let lists = if is_b { 2 } else { usize::from(is_p) };
    skip_reordering(&mut bits, lists)?;
    if picture.weighted && is_p || picture.weighted_bi && is_b {
        skip_weights(&mut bits, references.get(..lists)?, sequence.has_chroma)?;
    }
    let begin = bits.position();
    let commands = if is_reference { commands(&mut bits)? } else { Vec::new() };
    let marking = (begin, bits.position());
    if picture.is_cabac && (is_p || is_b) {
        bits.number()?;
    }
    bits.signed()?;
    if picture.has_deblocking && bits.number()? != 1 {
        bits.signed()?;
        bits.signed()?;
    }
    let most_frame_num = (1u32 << sequence.frame_num_bits) - 1;
    let (is_cabac, end) = (picture.is_cabac, bits.position());
    Some(Slice { frame_num, most_frame_num, is_field, is_cabac, commands, marking, end })
}

fn skip_reordering(bits: &mut Bits<'_>, lists: usize) -> Option<()> {
    for _ in 0..lists {
        if bits.flag()? {
            while bits.number()? != 3 {
                bits.number()?;
            }
        }
    }
    Some(())
}

fn skip_weights(bits: &mut Bits<'_>, references: &[u32], has_chroma: bool) -> Option<()> {
    bits.number()?;
    if has_chroma {
        bits.number()?;
    }
    for references in references {
        for _ in 0..*references {
            skip_weight(bits, 2)?;
            if has_chroma {
                skip_weight(bits, 4)?;
            }
        }
    }
    Some(())
}

fn skip_weight(bits: &mut Bits<'_>, numbers: u32) -> Option<()> {
    if bits.flag()? {
        for _ in 0..numbers {
            bits.signed()?;
        }
    }
    Some(())
}

fn commands(bits: &mut Bits<'_>) -> Option<Vec<Command>> {
    let mut commands = Vec::new();
    if !bits.flag()? {
        return Some(commands);
    }
    loop {
        let from = bits.position();
        let kind = bits.number()?;
        let distance = match kind {
            0 => return Some(commands),
            FORGET_SHORT | SHORT_TO_LONG => Some(i64::from(bits.number()?) + 1),
            _ => None,
        };
        if matches!(kind, 2 | SHORT_TO_LONG | 4 | 6) {
            bits.number()?;
        }
        commands.push(Command { kind, distance, from, to: bits.position() });
    }
}

/// Reads a sequence parameter set without its NAL header (H.264 7.3.2.1.1); gives its number, too.
fn sequence(body: &[u8]) -> Option<(u32, Sequence)> {
    let mut bits = Bits::new(body);
    let profile = bits.fixed(8)?;
    bits.fixed(16)?;
    let id = bits.number()?;
    let (mut chroma, mut separate_planes) = (1, false);
    if [100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135].contains(&profile) {
        chroma = bits.number()?;
        separate_planes = chroma == 3 && bits.flag()?;
        bits.number()?;
        bits.number()?;
        bits.flag()?;
        if bits.flag()? {
            let lists = if chroma == 3 { 12 } else { 8 };
            (0..lists).try_for_each(|list| skip_scaling_list(&mut bits, if list < 6 { 16 } else { 64 }))?;
        }
    }
    let frame_num_bits = bits.number()?.checked_add(4).filter(|bits| *bits <= 16)?;
    let order_type = bits.number()?;
    let (mut order_bits, mut delta_always_zero) = (0, false);
    match order_type {
        0 => order_bits = bits.number()?.checked_add(4).filter(|bits| *bits <= 16)?,
        1 => {
            delta_always_zero = bits.flag()?;
            bits.signed()?;
            bits.signed()?;
            for _ in 0..bits.number()? {
                bits.signed()?;
            }
        }
        _ => {}
    }
    bits.number()?;
    bits.flag()?;
    bits.number()?;
    bits.number()?;
    let frames_only = bits.flag()?;
    let has_chroma = chroma != 0 && !separate_planes;
    let sequence = Sequence {
        separate_planes,
        has_chroma,
        frame_num_bits,
        order_type,
        order_bits,
        delta_always_zero,
        frames_only,
    };
    Some((id, sequence))
}

fn skip_scaling_list(bits: &mut Bits<'_>, size: u32) -> Option<()> {
    if !bits.flag()? {
        return Some(());
    }
    let (mut last, mut next) = (8, 8);
    for _ in 0..size {
        if next != 0 {
            next = (last + bits.signed()?).rem_euclid(256);
        }
        last = if next == 0 { last } else { next };
    }
    Some(())
}

/// Reads a picture parameter set without its NAL header (H.264 7.3.2.2); gives its number, too.
fn picture(body: &[u8]) -> Option<(u32, Picture)> {
    let mut bits = Bits::new(body);
    let (id, sequence) = (bits.number()?, bits.number()?);
    let (is_cabac, has_order_in_frame) = (bits.flag()?, bits.flag()?);
    // Slice groups are of a profile that no camera has.
    if bits.number()? != 0 {
        return None;
    }
    let references = [bits.number()?.checked_add(1)?, bits.number()?.checked_add(1)?];
    let (weighted, weighted_bi) = (bits.flag()?, bits.fixed(2)? == 1);
    for _ in 0..3 {
        bits.signed()?;
    }
    let (has_deblocking, _, has_redundant) = (bits.flag()?, bits.flag()?, bits.flag()?);
    let picture = Picture {
        sequence,
        is_cabac,
        has_order_in_frame,
        references,
        weighted,
        weighted_bi,
        has_deblocking,
        has_redundant,
    };
    Some((id, picture))
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn any_bytes_are_survived(data in proptest::collection::vec(0u8..9, 0..300), lengths: bool) {
            let extradata: &[u8] = if lengths { &[1, 100, 0, 30, 0xff] } else { &[0, 0, 0, 1, 0x67] };
            let mut joined = Joined::of(&Codec::H264, extradata).expect("H.264");
            for unit in [SEQUENCE, PICTURE, SLICE, SLICE] {
                let head = if lengths { vec![0, 0, 1, 44, unit | 0x60] } else { vec![0, 0, 1, unit | 0x60] };
                joined.mended(&[&head[..], &data[..]].concat());
            }
            // Parameters of a stream are foreign, too.
            let record = [&[1], &data[..]].concat();
            for codec in [Codec::H264, Codec::H265] {
                let _ = (Joined::of(&codec, &data), as_units(&codec, &record));
            }
        }
    }
}
