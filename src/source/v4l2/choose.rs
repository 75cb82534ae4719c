//! Which of a device's formats, sizes and rates to ask for. Pure: the device is asked elsewhere.

use super::super::V4l2Format;

/// Without a wish: enough for detection at some distance, little enough for USB 2.
pub(super) const USUAL_SIZE: (u32, u32) = (1280, 720);

/// Without a wish: people and vehicles need no more.
pub(super) const USUAL_FPS: u32 = 15;

/// A coding that we take, in the order of preference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    H264,
    Mjpeg,
    Yuyv,
}

impl Coding {
    fn of(fourcc: [u8; 4]) -> Option<Self> {
        match &fourcc {
            b"H264" => Some(Self::H264),
            b"MJPG" | b"JPEG" => Some(Self::Mjpeg),
            b"YUYV" => Some(Self::Yuyv),
            _ => None,
        }
    }
}

/// Frame sizes that a device lists: one, or all from `min` to `max` in steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SizeOffer {
    pub(super) min: (u32, u32),
    pub(super) max: (u32, u32),
    pub(super) step: (u32, u32),
}

/// Frame intervals that a device lists, seconds as fractions: one, or all between two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct IntervalOffer {
    pub(super) shortest: (u32, u32),
    pub(super) longest: (u32, u32),
}

/// The best coding in `offered` that the wish allows.
///
/// # Errors
/// Names what there is instead.
pub(super) fn pick_coding(wish: V4l2Format, offered: &[[u8; 4]]) -> Result<(Coding, [u8; 4]), String> {
    let order: &[Coding] = match wish {
        V4l2Format::Auto => &[Coding::H264, Coding::Mjpeg, Coding::Yuyv],
        V4l2Format::H264 => &[Coding::H264],
        V4l2Format::Mjpeg => &[Coding::Mjpeg],
        V4l2Format::Yuyv => &[Coding::Yuyv],
    };
    let offer_of = |coding| offered.iter().copied().find(|fourcc| Coding::of(*fourcc) == Some(coding));
    let picked = order.iter().find_map(|coding| Some((*coding, offer_of(*coding)?)));
    picked.ok_or_else(|| {
        let usable: Vec<_> = offered.iter().copied().filter(|fourcc| Coding::of(*fourcc).is_some()).collect();
        if usable.is_empty() {
            format!("it gives {}, but none of H264, MJPG and YUYV", listed(offered))
        } else {
            format!("it gives {}: set format to one of these or to auto", listed(&usable))
        }
    })
}

/// Names for a message: not all of them, some devices convert to dozens.
fn listed(offered: &[[u8; 4]]) -> String {
    // The top bit of a code marks big-endian variants.
    let name = |fourcc: &[u8; 4]| fourcc.iter().map(|byte| char::from(byte & 0x7f)).collect::<String>();
    let mut names: Vec<_> = offered.iter().take(6).map(|fourcc| name(fourcc).trim().to_owned()).collect();
    match offered.len() {
        0 => return "no format at all".to_owned(),
        1..=6 => {}
        more => names.push(format!("{} more", more - 6)),
    }
    names.join(", ")
}

/// The size nearest to `wish`; `wish` itself where the device lists nothing.
pub(super) fn pick_size(wish: (u32, u32), offers: &[SizeOffer]) -> (u32, u32) {
    let nearest = |offer: &SizeOffer| {
        (
            nearest_step(wish.0, offer.min.0, offer.max.0, offer.step.0),
            nearest_step(wish.1, offer.min.1, offer.max.1, offer.step.1),
        )
    };
    let distance = |size: &(u32, u32)| (size.0.abs_diff(wish.0) + size.1.abs_diff(wish.1), size.0, size.1);
    offers.iter().map(nearest).min_by_key(distance).unwrap_or(wish)
}

fn nearest_step(wish: u32, min: u32, max: u32, step: u32) -> u32 {
    let (max, step) = (max.max(min), step.max(1));
    let steps = (wish.clamp(min, max) - min + step / 2) / step;
    // Half a step above the last one must not leave the range.
    min + steps.min((max - min) / step) * step
}

/// The frame interval nearest to `fps`; `1/fps` where the device lists nothing.
pub(super) fn pick_interval(fps: u32, offers: &[IntervalOffer]) -> (u32, u32) {
    let wish = (1, fps.max(1));
    let nearest = |offer: &IntervalOffer| {
        if seconds(wish) < seconds(offer.shortest) {
            offer.shortest
        } else if seconds(wish) > seconds(offer.longest) {
            offer.longest
        } else {
            wish
        }
    };
    let distance = |interval: &(u32, u32)| (frames_per_second(*interval) - f64::from(wish.1)).abs();
    let usable = offers.iter().filter(|o| seconds(o.shortest) > 0.0 && seconds(o.longest) > 0.0);
    usable.map(nearest).min_by(|a, b| distance(a).total_cmp(&distance(b))).unwrap_or(wish)
}

fn seconds((numerator, denominator): (u32, u32)) -> f64 {
    if denominator == 0 { 0.0 } else { f64::from(numerator) / f64::from(denominator) }
}

/// Frames per second of an interval; 0 where that makes no sense.
pub(super) fn frames_per_second((numerator, denominator): (u32, u32)) -> f64 {
    if numerator == 0 { 0.0 } else { f64::from(denominator) / f64::from(numerator) }
}

/// The rows of a picture without the padding that some devices put behind each.
/// `None` when `data` is too short.
pub(super) fn pack_rows(data: &[u8], stride: usize, row: usize, rows: usize) -> Option<Vec<u8>> {
    let stride = stride.max(row);
    if row == 0 || rows == 0 || data.len() < stride.checked_mul(rows - 1)?.checked_add(row)? {
        return None;
    }
    let mut packed = Vec::with_capacity(row.checked_mul(rows)?);
    for line in data.chunks(stride).take(rows) {
        packed.extend_from_slice(line.get(..row)?);
    }
    Some(packed)
}

/// A JPEG without the zeros that are left behind it in a buffer which is handed over whole;
/// `None` when there is no JPEG.
pub(super) fn trim_jpeg(data: &[u8]) -> Option<&[u8]> {
    data.starts_with(&[0xff, 0xd8]).then_some(())?;
    let end = data.iter().rposition(|byte| *byte != 0)? + 1;
    let trimmed = data.get(..end)?;
    // Zeros that do not follow an end-of-image marker are the picture's own.
    Some(if trimmed.ends_with(&[0xff, 0xd9]) { trimmed } else { data })
}

/// Frames that were skipped between two frame numbers, `elapsed` seconds apart. Drivers number frames and
/// go on counting when they have no buffer to put one into; but some never count, some start again, and
/// some hand over a leftover with an old number first, so what time had no room for is not believed.
pub(super) fn skipped(last: u32, sequence: u32, elapsed: f32, fps: Option<f32>) -> u16 {
    let ahead = sequence.checked_sub(last).map_or(0, |ahead| ahead.saturating_sub(1));
    // A float that does not fit saturates.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let room = (elapsed * fps.unwrap_or(240.0)).round() as u16;
    u16::try_from(ahead).unwrap_or(u16::MAX).min(room)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one(width: u32, height: u32) -> SizeOffer {
        SizeOffer { min: (width, height), max: (width, height), step: (0, 0) }
    }

    fn rate(numerator: u32, denominator: u32) -> IntervalOffer {
        IntervalOffer { shortest: (numerator, denominator), longest: (numerator, denominator) }
    }

    #[test]
    fn the_best_coding_that_the_wish_allows_is_taken() {
        let webcam = [*b"YUYV", *b"MJPG", *b"H264"];
        let cases = [
            (V4l2Format::Auto, &webcam[..], Ok((Coding::H264, *b"H264"))),
            (V4l2Format::Auto, &webcam[..2], Ok((Coding::Mjpeg, *b"MJPG"))),
            (V4l2Format::Auto, &[*b"NV12", *b"YUYV"], Ok((Coding::Yuyv, *b"YUYV"))),
            (V4l2Format::Yuyv, &webcam, Ok((Coding::Yuyv, *b"YUYV"))),
            (V4l2Format::Mjpeg, &[*b"JPEG"], Ok((Coding::Mjpeg, *b"JPEG"))),
        ];
        for (wish, offered, expected) in cases {
            assert_eq!(pick_coding(wish, offered), expected, "{wish:?} of {offered:?}");
        }
        let message = pick_coding(V4l2Format::H264, &webcam[..2]).expect_err("has none");
        assert_eq!(message, "it gives YUYV, MJPG: set format to one of these or to auto");
        let message = pick_coding(V4l2Format::Auto, &[*b"Y16 "]).expect_err("has none");
        assert_eq!(message, "it gives Y16, but none of H264, MJPG and YUYV");
        let message = pick_coding(V4l2Format::H264, &[*b"Y16\xa0"; 9]).expect_err("has none");
        assert_eq!(message, "it gives Y16, Y16, Y16, Y16, Y16, Y16, 3 more, but none of H264, MJPG and YUYV");
    }

    #[test]
    fn the_nearest_size_is_taken() {
        let listed = [one(1920, 1080), one(640, 480), one(1280, 720), one(320, 240)];
        assert_eq!(pick_size((1280, 720), &listed), (1280, 720));
        assert_eq!(pick_size((800, 600), &listed), (640, 480));
        assert_eq!(pick_size((4000, 4000), &listed), (1920, 1080));
        assert_eq!(pick_size((1280, 720), &[]), (1280, 720), "a device that lists nothing is asked for the wish");
        let range = [SizeOffer { min: (48, 32), max: (1921, 1080), step: (16, 8) }];
        assert_eq!(pick_size((1280, 723), &range), (1280, 720));
        assert_eq!(pick_size((9999, 1), &range), (1920, 32));
    }

    #[test]
    fn the_nearest_rate_is_taken() {
        let listed = [rate(1, 30), rate(1, 10), rate(2, 15), rate(0, 0)];
        assert_eq!(pick_interval(15, &listed), (1, 10));
        assert_eq!(pick_interval(8, &listed), (2, 15));
        assert_eq!(pick_interval(60, &listed), (1, 30));
        assert_eq!(pick_interval(15, &[]), (1, 15));
        let range = [IntervalOffer { shortest: (1, 60), longest: (1, 5) }];
        assert_eq!([1, 15, 100].map(|fps| pick_interval(fps, &range)), [(1, 5), (1, 15), (1, 60)]);
    }

    #[test]
    fn padded_rows_are_packed() {
        assert_eq!(pack_rows(&[1, 2, 9, 3, 4, 9], 3, 2, 2), Some(vec![1, 2, 3, 4]));
        assert_eq!(pack_rows(&[1, 2, 9, 3, 4], 3, 2, 2), Some(vec![1, 2, 3, 4]), "no padding behind the last row");
        assert_eq!(pack_rows(&[1, 2, 3, 4], 0, 2, 2), Some(vec![1, 2, 3, 4]), "a driver that does not say");
        assert_eq!(pack_rows(&[1, 2, 9, 3], 3, 2, 2), None);
    }

    #[test]
    fn a_jpeg_loses_what_is_not_part_of_it() {
        assert_eq!(trim_jpeg(&[0xff, 0xd8, 1, 0xff, 0xd9, 0, 0]), Some(&[0xff, 0xd8, 1, 0xff, 0xd9][..]));
        assert_eq!(trim_jpeg(&[0xff, 0xd8, 1, 0, 0]), Some(&[0xff, 0xd8, 1, 0, 0][..]));
        assert_eq!([trim_jpeg(&[0; 9]), trim_jpeg(&[]), trim_jpeg(&[0xff])], [None; 3]);
    }

    #[test]
    fn skipped_frames_are_counted_as_far_as_time_had_room_for_them() {
        let cases = [(7, 8, 0.066, 0), (7, 10, 0.2, 2), (0, 0, 0.066, 0), (900, 1, 0.066, 0), (1, 1000, 0.066, 1)];
        for (last, sequence, elapsed, expected) in cases {
            assert_eq!(skipped(last, sequence, elapsed, Some(15.0)), expected, "{last} to {sequence}");
        }
        assert_eq!(skipped(0, u32::MAX, f32::MAX, None), u16::MAX);
    }

    proptest! {
        #[test]
        fn what_is_picked_is_offered(wish in (1u32..9000, 1u32..9000), min in 1u32..4000, span in 0u32..4000, step in 0u32..64) {
            let offer = SizeOffer { min: (min, min), max: (min + span, min + span), step: (step, step) };
            let (width, height) = pick_size(wish, &[offer]);
            for side in [width, height] {
                prop_assert!((min..=min + span).contains(&side));
                prop_assert_eq!((side - min) % step.max(1), 0);
            }
        }
    }
}
