//! HEIF, the container of HEIC and AVIF: which items there are, where they lie and how they make a picture.

use std::collections::{HashMap, HashSet};

use super::super::bytes::{Bytes, number};

/// Largest description of the items, bytes.
const LARGEST_META: u64 = 16 << 20;
/// Items of one file; a picture of 250 megapixels has 1000 tiles.
const MOST_ITEMS: usize = 10_000;
/// Boxes at one level.
const MOST_BOXES: usize = 20_000;
/// Parts that one item is put together from.
const MOST_PARTS: usize = 100;

/// Number of an item.
pub(in crate::picture) type Item = u32;

/// What is true of an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Property {
    /// Parameters of the decoder.
    Configuration(Vec<u8>),
    /// Width and height in pixels.
    Size(u32, u32),
    /// Quarters of a turn against the clock.
    Turned(u8),
    /// The upper half becomes the lower one, or the left one the right one.
    Mirrored(Axis),
    /// An ICC profile.
    Profile(Vec<u8>),
    /// Numbers of primaries, transfer and matrix, and whether the whole range is used.
    Numbers(u16, u16, u16, bool),
    /// It says how much of another picture is to be seen.
    Alpha,
    /// Anything else.
    Other,
}

/// What a picture is mirrored at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Axis {
    /// Top and bottom change places.
    Horizontal,
    /// Left and right change places.
    Vertical,
}

#[derive(Clone, Debug, Default)]
struct Place {
    /// Counted from the beginning of the item data instead of that of the file.
    is_inside: bool,
    parts: Vec<(u64, u64)>,
}

/// The items of a file.
#[derive(Debug, Default)]
pub(in crate::picture) struct Container {
    pub(super) primary: Item,
    kinds: HashMap<Item, [u8; 4]>,
    content_types: HashMap<Item, Vec<u8>>,
    places: HashMap<Item, Place>,
    properties: Vec<Property>,
    links: HashMap<Item, Vec<usize>>,
    tiles: HashMap<Item, Vec<Item>>,
    /// Pictures that say something of another one, by that.
    auxiliary: HashMap<Item, Vec<Item>>,
    /// Pictures whose colours are multiplied by their alpha already.
    multiplied: HashSet<Item>,
    inside: Vec<u8>,
}

/// The boxes of `bytes`: kind and content.
fn boxes(bytes: &[u8]) -> Vec<([u8; 4], &[u8])> {
    let (mut rest, mut found) = (bytes, Vec::new());
    while found.len() < MOST_BOXES {
        let (Some(size), Some(kind)) = (number(rest, 0, 4), rest.get(4..8).and_then(|kind| kind.first_chunk())) else {
            break;
        };
        let (begin, size) = match size {
            0 => (8, rest.len()),
            1 => (16, number(rest, 8, 8).and_then(|size| usize::try_from(size).ok()).unwrap_or(usize::MAX)),
            size => (8, usize::try_from(size).unwrap_or(usize::MAX)),
        };
        let Some(content) = rest.get(begin..size) else { break };
        found.push((*kind, content));
        rest = rest.get(size..).unwrap_or_default();
    }
    found
}

/// The content of a box with a version: version, flags, rest.
fn versioned(content: &[u8]) -> Option<(u8, u64, &[u8])> {
    Some((*content.first()?, number(content, 1, 3)?, content.get(4..)?))
}

/// Takes numbers off the front.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take(&mut self, size: usize) -> Option<u64> {
        let taken = number(self.0, 0, size)?;
        self.0 = self.0.get(size..)?;
        Some(taken)
    }

    fn item(&mut self, is_wide: bool) -> Option<Item> {
        self.take(if is_wide { 4 } else { 2 }).and_then(|item| Item::try_from(item).ok())
    }
}

impl Container {
    /// Reads what the file says of its items.
    ///
    /// # Errors
    /// A sentence.
    pub(in crate::picture) fn open<B: Bytes + ?Sized>(bytes: &B) -> Result<Self, String> {
        let meta = meta(bytes).ok_or("the picture is damaged or cut off: it has no list of its parts")?;
        let (_, _, content) =
            versioned(&meta).ok_or("the picture is damaged or cut off: its list of parts is empty")?;
        let mut container = Self::default();
        for (kind, content) in boxes(content) {
            // A damaged list is as long as it can be read.
            let _ = match &kind {
                b"pitm" => container.read_primary(content),
                b"iinf" => container.read_kinds(content),
                b"iloc" => container.read_places(content),
                b"iprp" => container.read_properties(content),
                b"iref" => container.read_references(content),
                b"idat" => {
                    container.inside = content.to_vec();
                    Some(())
                }
                _ => None,
            };
        }
        Ok(container)
    }

    fn read_primary(&mut self, content: &[u8]) -> Option<()> {
        let (version, _, rest) = versioned(content)?;
        self.primary = Reader(rest).item(version > 0)?;
        Some(())
    }

    fn read_kinds(&mut self, content: &[u8]) -> Option<()> {
        let (version, _, rest) = versioned(content)?;
        for (kind, entry) in boxes(rest.get(if version == 0 { 2 } else { 4 }..)?).into_iter().take(MOST_ITEMS) {
            let (version, _, entry) = versioned(entry)?;
            if &kind != b"infe" || version < 2 {
                continue;
            }
            let mut reader = Reader(entry);
            let item = reader.item(version > 2)?;
            reader.take(2)?;
            let (kind, names) = reader.0.split_first_chunk()?;
            // A name, and for one of a media type that type.
            let content_type = names.split(|byte| *byte == 0).nth(1);
            self.content_types.extend(content_type.filter(|_| kind == b"mime").map(|name| (item, name.to_vec())));
            self.kinds.insert(item, *kind);
        }
        Some(())
    }

    fn read_places(&mut self, content: &[u8]) -> Option<()> {
        let (version, _, rest) = versioned(content)?;
        let mut reader = Reader(rest);
        let sizes = reader.take(2)?;
        let [offset, length, base, index] = [12, 8, 4, 0].map(|shift| usize::from((sizes >> shift) as u8 & 15).min(8));
        let is_wide = version > 1;
        let count = reader.item(is_wide)?;
        for _ in 0..count.min(MOST_ITEMS as u32) {
            let item = reader.item(is_wide)?;
            let construction = if version > 0 { reader.take(2)? & 15 } else { 0 };
            reader.take(2)?;
            let base = reader.take(base)?;
            let parts = reader.take(2)?;
            let mut place = Place { is_inside: construction == 1, parts: Vec::new() };
            for _ in 0..parts {
                if version > 0 {
                    reader.take(index)?;
                }
                let part = (base.checked_add(reader.take(offset)?)?, reader.take(length)?);
                if place.parts.len() < MOST_PARTS {
                    place.parts.push(part);
                }
            }
            if construction < 2 {
                self.places.insert(item, place);
            }
        }
        Some(())
    }

    fn read_properties(&mut self, content: &[u8]) -> Option<()> {
        for (kind, content) in boxes(content) {
            match &kind {
                b"ipco" => self.properties = boxes(content).iter().map(|(kind, content)| of(kind, content)).collect(),
                b"ipma" => self.read_links(content)?,
                _ => {}
            }
        }
        Some(())
    }

    fn read_links(&mut self, content: &[u8]) -> Option<()> {
        let (version, flags, rest) = versioned(content)?;
        let mut reader = Reader(rest);
        let (size, mask) = if flags & 1 == 1 { (2, 0x7fff) } else { (1, 0x7f) };
        for _ in 0..reader.take(4)?.min(MOST_ITEMS as u64) {
            let item = reader.item(version > 0)?;
            for _ in 0..reader.take(1)? {
                let index = reader.take(size)? & mask;
                self.links.entry(item).or_default().push(usize::try_from(index).ok()?);
            }
        }
        Some(())
    }

    fn read_references(&mut self, content: &[u8]) -> Option<()> {
        let (version, _, rest) = versioned(content)?;
        for (kind, content) in boxes(rest) {
            let mut reader = Reader(content);
            let from = reader.item(version > 0)?;
            let count = reader.take(2)?.min(MOST_ITEMS as u64);
            let mut to = (0..count).map_while(|_| reader.item(version > 0));
            match &kind {
                b"dimg" => _ = self.tiles.insert(from, to.collect()),
                b"auxl" => to.for_each(|of| self.auxiliary.entry(of).or_default().push(from)),
                b"prem" => _ = to.next().is_some_and(|_| self.multiplied.insert(from)),
                _ => {}
            }
        }
        Some(())
    }

    /// Four letters.
    pub(super) fn kind(&self, item: Item) -> [u8; 4] {
        self.kinds.get(&item).copied().unwrap_or_default()
    }

    /// What is true of an item, in its order, which is that of turning and mirroring.
    pub(super) fn properties(&self, item: Item) -> impl Iterator<Item = &Property> {
        let links = self.links.get(&item).into_iter().flatten();
        links.filter_map(|index| self.properties.get(index.checked_sub(1)?))
    }

    /// The items that a grid is made of, row by row.
    pub(super) fn tiles(&self, item: Item) -> &[Item] {
        self.tiles.get(&item).map(Vec::as_slice).unwrap_or_default()
    }

    /// The picture that says how much of `item` is to be seen, and whether the colours are multiplied by it already.
    pub(super) fn alpha(&self, item: Item) -> Option<(Item, bool)> {
        let mut auxiliary = self.auxiliary.get(&item)?.iter().copied();
        let alpha = auxiliary.find(|other| self.properties(*other).any(|property| *property == Property::Alpha))?;
        Some((alpha, self.multiplied.contains(&item)))
    }

    /// The item that holds XMP.
    pub(in crate::picture) fn xmp(&self) -> Option<Item> {
        self.content_types.iter().find(|(_, name)| *name == b"application/rdf+xml").map(|(item, _)| *item)
    }

    /// The bytes of an item, where there are at most `most`.
    pub(in crate::picture) fn content<B: Bytes + ?Sized>(&self, bytes: &B, item: Item, most: usize) -> Option<Vec<u8>> {
        let place = self.places.get(&item)?;
        let mut content = Vec::new();
        for (at, length) in &place.parts {
            let length = usize::try_from(*length).ok()?;
            if content.len().checked_add(length)? > most {
                return None;
            }
            match place.is_inside {
                true => content.extend(Bytes::read(self.inside.as_slice(), *at, length)?),
                false => content.extend(bytes.read(*at, length)?),
            }
        }
        Some(content)
    }
}

/// The content of the box that lists the items.
fn meta<B: Bytes + ?Sized>(bytes: &B) -> Option<Vec<u8>> {
    let mut at = 0;
    for _ in 0..MOST_BOXES {
        let head = bytes.read(at, 8)?;
        let (begin, size) = match number(&head, 0, 4)? {
            0 => (8, bytes.total().checked_sub(at)?),
            1 => (16, number(&bytes.read(at + 8, 8)?, 0, 8)?),
            size => (8, size),
        };
        let length = size.checked_sub(begin)?;
        if head.get(4..)? == b"meta" {
            return bytes.read(at + begin, usize::try_from(length).ok().filter(|_| length <= LARGEST_META)?);
        }
        at = at.checked_add(size)?;
    }
    None
}

fn of(kind: &[u8; 4], content: &[u8]) -> Property {
    property(kind, content).unwrap_or(Property::Other)
}

fn property(kind: &[u8; 4], content: &[u8]) -> Option<Property> {
    let two = |at| number(content, at, 2).and_then(|number| u16::try_from(number).ok());
    let four = |at| number(content, at, 4).and_then(|number| u32::try_from(number).ok());
    Some(match kind {
        b"hvcC" | b"av1C" => Property::Configuration(content.to_vec()),
        b"ispe" => Property::Size(four(4)?, four(8)?),
        b"irot" => Property::Turned(content.first()? & 3),
        b"auxC" => match content.get(4..)?.split(|byte| *byte == 0).next()? {
            b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha" | b"urn:mpeg:hevc:2015:auxid:1" => Property::Alpha,
            _ => Property::Other,
        },
        b"imir" => Property::Mirrored(if content.first()? & 1 == 0 { Axis::Horizontal } else { Axis::Vertical }),
        b"colr" => match content.split_at_checked(4)? {
            (b"prof" | b"rICC", profile) => Property::Profile(profile.to_vec()),
            (b"nclx", rest) => Property::Numbers(two(4)?, two(6)?, two(8)?, rest.get(6)? & 0x80 != 0),
            _ => Property::Other,
        },
        _ => Property::Other,
    })
}
