//! What a photo is found by: terms, each of which has a list of its photos in the index.

use std::collections::BTreeSet;

use super::words::{fold, words_of};
use super::{GeoPoint, Medium, Photo, PictureFormat};
use crate::asset::AssetId;

/// Version of what [`terms_of`] gives; an index with terms of another is filled again.
pub const TERMS_VERSION: u32 = 2;

/// Most words of one photo that are searched.
const MOST_WORDS: usize = 300;
/// Longest text of a term, bytes.
const LONGEST: usize = 64;

/// Something that photos have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Term {
    /// A word in anything that is said of it, folded.
    Word(String),
    /// A tag, or a keyword of the file, folded.
    Tag(String),
    /// A word in maker, model and lens, folded.
    Device(String),
    /// An object that a model found, folded.
    Label(String),
    /// How its file is coded.
    Format(PictureFormat),
    /// Picture or video.
    Medium(Medium),
    /// The user that it belongs to.
    Owner(String),
    /// A user whose favourite it is.
    FavoriteOf(String),
    /// An album that it is in.
    Album(AssetId),
    /// A square of the map that it was taken in.
    Cell(Cell),
    /// The day on the wall that it was taken on, days since 1970.
    Day(i32),
    /// It is known where it was taken.
    Placed,
    /// Its owner alone sees it.
    Private,
    /// It is an event of a camera, and no photo.
    CameraEvent,
}

impl Term {
    /// As a key, without zeros but in cells and days, which all have the same length.
    pub fn to_bytes(&self) -> Vec<u8> {
        let text = |letter: u8, text: &str| {
            let short = text.get(..text.floor_char_boundary(LONGEST)).unwrap_or_default();
            [&[letter], short.replace('\0', "").as_bytes()].concat()
        };
        match self {
            Self::Word(word) => text(b'w', word),
            Self::Tag(tag) => text(b't', tag),
            Self::Device(word) => text(b'd', word),
            Self::Label(label) => text(b'l', label),
            Self::Format(format) => text(b'f', format.extension()),
            Self::Medium(Medium::Picture) => text(b'm', "picture"),
            Self::Medium(Medium::Video) => text(b'm', "video"),
            Self::Owner(user) => text(b'o', user),
            Self::FavoriteOf(user) => text(b'h', user),
            Self::Album(id) => text(b'a', &id.to_string()),
            Self::Cell(cell) => [b"c".as_slice(), &cell.to_bytes()].concat(),
            // As sorted as the days are, before 1970 too.
            Self::Day(day) => [b"y".as_slice(), &(day.cast_unsigned() ^ (1 << 31)).to_be_bytes()].concat(),
            Self::Placed => vec![b'p'],
            Self::Private => vec![b'x'],
            Self::CameraEvent => vec![b'e'],
        }
    }

    /// The day that the key of a [`Term::Day`] is of.
    pub fn day_of(key: &[u8]) -> Option<i32> {
        let &[b'y', a, b, c, d] = key else { return None };
        Some((u32::from_be_bytes([a, b, c, d]) ^ (1 << 31)).cast_signed())
    }

    /// The tag, the label or the word that a key is of; `None` for others.
    pub fn text_of(key: &[u8]) -> Option<&str> {
        let (letter, text) = key.split_first()?;
        matches!(letter, b'w' | b't' | b'd' | b'l').then(|| std::str::from_utf8(text).ok())?
    }
}

/// Sides of squares in degrees, the largest first.
const SIDES: [f64; 4] = [10.0, 1.0, 0.1, 0.01];
/// Kilometres of a degree of latitude.
const KM_OF_DEGREE: f64 = 111.2;
/// Most squares that an area is covered with; the coarsest grid has 648.
const MOST_CELLS: usize = 700;

/// A square of a grid in degrees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cell {
    /// Which grid: 0 to 3, sides of 10 to 0.01 degrees.
    pub level: u8,
    /// Rows from the south pole.
    pub row: u16,
    /// Columns from 180° west.
    pub column: u16,
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "rows and columns are at most 36,000")]
fn index(degrees: f64, side: f64) -> u16 {
    // A hair more, so that what is written on a line of the grid lies beyond it, whatever binary fractions make of it.
    (degrees / side + 1e-9).floor().clamp(0.0, f64::from(u16::MAX)) as u16
}

impl Cell {
    /// Grids.
    pub const LEVELS: u8 = 4;

    /// The square of a grid that a place lies in; `None` where there is no such grid.
    pub fn of(place: &GeoPoint, level: u8) -> Option<Self> {
        let side = SIDES.get(usize::from(level))?;
        let (row, column) = (index(place.latitude + 90.0, *side), index(place.longitude + 180.0, *side));
        // What lies on the date line lies east of it.
        let columns = index(360.0, *side).max(1);
        Some(Self { level, row, column: column % columns })
    }

    fn to_bytes(self) -> [u8; 5] {
        let ([a, b], [c, d]) = (self.row.to_be_bytes(), self.column.to_be_bytes());
        [self.level, a, b, c, d]
    }

    /// The square that the key of a [`Term::Cell`] is of.
    pub fn from_key(key: &[u8]) -> Option<Self> {
        let &[b'c', level, a, b, c, d] = key else { return None };
        Some(Self { level, row: u16::from_be_bytes([a, b]), column: u16::from_be_bytes([c, d]) })
    }

    /// Its side, degrees.
    pub fn side(&self) -> Option<f64> {
        SIDES.get(usize::from(self.level)).copied()
    }

    /// Its middle.
    pub fn middle(&self) -> Option<GeoPoint> {
        let side = SIDES.get(usize::from(self.level))?;
        let at = |index: u16| (f64::from(index) + 0.5) * side;
        GeoPoint::new(at(self.row) - 90.0, at(self.column) - 180.0, None)
    }

    /// Squares that cover the circle of `radius_km` around a place, of the finest grid of which 700 do.
    pub fn around(place: &GeoPoint, radius_km: f64) -> Vec<Self> {
        let high = radius_km / KM_OF_DEGREE;
        let (south, north) = ((place.latitude - high).max(-90.0), (place.latitude + high).min(90.0));
        // The circle of latitude that is nearest to a pole is the shortest.
        let shortest = north.abs().max(south.abs()).to_radians().cos();
        let wide = if shortest * 180.0 <= high { 180.0 } else { high / shortest };
        (0..Self::LEVELS)
            .rev()
            .find_map(|level| Self::cover(south, north, place.longitude - wide, place.longitude + wide, level))
            .unwrap_or_default()
    }

    /// Squares of one grid between two parallels and two meridians, `east` up to 360 beyond `west`; `None` for too many.
    pub fn cover(south: f64, north: f64, west: f64, east: f64, level: u8) -> Option<Vec<Self>> {
        let side = *SIDES.get(usize::from(level))?;
        let rows = index(south + 90.0, side)..=index((north + 90.0).min(180.0 - side / 2.0), side);
        let columns = index(360.0, side).max(1);
        let from = west + 180.0;
        let first = index(from.rem_euclid(360.0), side);
        let count = index(from.rem_euclid(360.0) + (east - west), side).saturating_sub(first).saturating_add(1);
        let count = count.min(columns);
        if usize::from(count) * rows.len() > MOST_CELLS {
            return None;
        }
        let column = |n: u16| u16::try_from((u32::from(first) + u32::from(n)) % u32::from(columns)).unwrap_or(0);
        let row = |row: u16| (0..count).map(move |n| Self { level, row, column: column(n) });
        Some(rows.flat_map(row).collect())
    }
}

impl GeoPoint {
    /// Kilometres to another place, along the earth taken as a ball.
    pub fn distance_km(&self, other: &Self) -> f64 {
        let (a, b) = (self.latitude.to_radians(), other.latitude.to_radians());
        let (high, wide) = ((b - a) / 2.0, (other.longitude - self.longitude).to_radians() / 2.0);
        let h = high.sin().powi(2) + a.cos() * b.cos() * wide.sin().powi(2);
        2.0 * 6371.0 * h.sqrt().min(1.0).asin()
    }
}

/// All that is said of a photo, one text after the other, each on a line of its own.
pub fn text_of(photo: &Photo) -> String {
    let facts = &photo.facts;
    let own = [&*photo.title, &photo.note, &photo.name].into_iter();
    let of_file = [&facts.title, &facts.description, &facts.device.make, &facts.device.model, &facts.device.lens];
    let of_file = of_file.into_iter().filter_map(Option::as_deref);
    let lists = photo.tags.iter().chain(&facts.keywords).map(String::as_str);
    own.chain(of_file).chain(lists).collect::<Vec<_>>().join("\n")
}

/// What a photo is found by, but for its albums.
pub fn terms_of(photo: &Photo) -> BTreeSet<Term> {
    let facts = &photo.facts;
    let mut terms: BTreeSet<Term> = words_of(&text_of(photo)).into_iter().take(MOST_WORDS).map(Term::Word).collect();
    terms.extend(photo.tags.iter().chain(&facts.keywords).map(|tag| Term::Tag(fold(tag))));
    let device = [&facts.device.make, &facts.device.model, &facts.device.lens];
    terms.extend(device.into_iter().flatten().flat_map(|text| words_of(text)).map(Term::Device));
    terms.insert(Term::Format(facts.format));
    terms.insert(Term::Medium(facts.format.medium()));
    terms.insert(Term::Owner(photo.owner.to_string()));
    terms.insert(Term::Day(photo.taken.wall_day()));
    terms.extend(photo.favorite_of.iter().map(|user| Term::FavoriteOf(user.to_string())));
    let objects = photo.seen.iter().flat_map(|seen| &seen.objects);
    terms.extend(objects.map(|object| Term::Label(fold(&object.label))));
    if photo.private {
        terms.insert(Term::Private);
    }
    if let Some(place) = &facts.place {
        terms.insert(Term::Placed);
        terms.extend((0..Cell::LEVELS).filter_map(|level| Cell::of(place, level)).map(Term::Cell));
    }
    terms
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(latitude: f64, longitude: f64) -> GeoPoint {
        GeoPoint::new(latitude, longitude, None).expect("a place")
    }

    #[test]
    fn what_lies_near_lies_in_a_square_of_the_cover() {
        let centres = [(35.68, 139.76), (0.0, 179.999), (-17.7, -179.99), (89.99, 10.0), (-90.0, 0.0), (51.5, 0.0)];
        for (latitude, longitude) in centres {
            let centre = place(latitude, longitude);
            for radius in [0.1, 1.0, 5.0, 50.0, 500.0] {
                let cover = Cell::around(&centre, radius);
                assert!(!cover.is_empty() && cover.len() <= MOST_CELLS, "{centre:?} {radius}");
                for step in 0..24 {
                    let angle = f64::from(step) * std::f64::consts::TAU / 24.0;
                    let high = latitude + angle.sin() * radius * 0.99 / KM_OF_DEGREE;
                    let wide = angle.cos() * radius * 0.99 / KM_OF_DEGREE / latitude.to_radians().cos().max(1e-9);
                    let Some(near) = GeoPoint::new(high, (longitude + wide + 180.0).rem_euclid(360.0) - 180.0, None)
                    else {
                        continue;
                    };
                    if near.distance_km(&centre) > radius {
                        continue;
                    }
                    let level = cover.first().map_or(0, |cell| cell.level);
                    let cell = Cell::of(&near, level).expect("a square");
                    assert!(cover.contains(&cell), "{centre:?} {radius} km: {near:?} in {cell:?}");
                }
            }
        }
    }

    #[test]
    fn squares_are_written_and_read() {
        let cell = Cell::of(&place(35.6812, 139.7671), 3).expect("a square");
        assert_eq!((cell.row, cell.column), (12568, 31976));
        assert_eq!(Cell::from_key(&Term::Cell(cell).to_bytes()), Some(cell));
        let middle = cell.middle().expect("a place");
        assert!((middle.latitude - 35.685).abs() < 1e-9 && (middle.longitude - 139.765).abs() < 1e-9);
        assert_eq!(Cell::of(&place(0.0, 180.0), 0), Cell::of(&place(0.0, -180.0), 0), "the date line");
    }

    #[test]
    fn distances_are_those_of_the_earth() {
        let km = place(35.6812, 139.7671).distance_km(&place(34.7025, 135.4959));
        assert!((km - 403.0).abs() < 2.0, "Tokyo to Osaka: {km}");
        assert!(place(0.0, 179.9).distance_km(&place(0.0, -179.9)) < 23.0);
    }

    #[test]
    fn keys_of_days_are_sorted_as_days_are() {
        let days = [i32::MIN, -700_000, -1, 0, 1, 19_800, i32::MAX];
        let keys: Vec<Vec<u8>> = days.iter().map(|day| Term::Day(*day).to_bytes()).collect();
        assert!(keys.is_sorted());
        assert!(keys.iter().zip(days).all(|(key, day)| Term::day_of(key) == Some(day)));
    }

    #[test]
    fn a_term_has_no_zero_in_its_key() {
        assert_eq!(Term::Tag("a\0b".to_owned()).to_bytes(), b"tab");
        assert!(Term::Word("x".repeat(500)).to_bytes().len() <= LONGEST + 1);
    }
}
