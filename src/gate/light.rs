//! Has only the light changed?
//!
//! A cloud, a lamp, or the camera's own exposure turn every grey value `v` into about `gain * v + offset`.
//! That line is fitted robustly (moving things are outliers), and where it explains the picture better than
//! "nothing changed", the background is moved along it instead of calling the whole picture motion.

/// Changes below this are left to the background's own slow following, grey levels.
const NOTICEABLE: f32 = 1.5;
/// Differences beyond this weigh no more than this: something stands before the scene there.
const OUTLIER: f32 = 40.0;
/// The fit must bring the mean difference below this share of what it is without.
const WORTH_IT: f32 = 0.7;
/// Values at the ends of the range are clipped and say nothing about gain.
const USABLE: std::ops::RangeInclusive<f32> = 4.0..=250.0;

/// The change of light from the background to the picture: `gain * value + offset`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct LightChange {
    pub gain: f32,
    pub offset: f32,
}

impl LightChange {
    fn residual(self, (known, seen): (f32, f32)) -> f32 {
        (seen - (self.gain * known + self.offset).clamp(0.0, 255.0)).abs()
    }
}

const UNCHANGED: LightChange = LightChange { gain: 1.0, offset: 0.0 };

/// The change that explains the pairs (background value, seen value), if there is one worth speaking of.
pub(super) fn light_change(pairs: &[(f32, f32)]) -> Option<LightChange> {
    let (median, spread) = median_and_spread(pairs)?;
    if median.abs() < NOTICEABLE && spread < 2.0 {
        return None;
    }
    let mut change = LightChange { gain: 1.0, offset: median };
    let mut reach = (4.0 * spread).clamp(8.0, 60.0);
    for _ in 0..3 {
        change = fit(pairs, change, reach)?;
        reach = (reach / 2.0).max(8.0);
    }
    let explained = pairs.iter().filter(|&&pair| change.residual(pair) <= 12.0).count();
    let mean =
        |c: LightChange| pairs.iter().map(|&pair| c.residual(pair).min(OUTLIER)).sum::<f32>() / pairs.len() as f32;
    let before = mean(UNCHANGED);
    let is_better = explained * 2 > pairs.len() && mean(change) < WORTH_IT * before && before >= NOTICEABLE / 2.0;
    is_better.then_some(change)
}

/// Median of `seen - known`, and the median distance from it, in whole grey levels.
fn median_and_spread(pairs: &[(f32, f32)]) -> Option<(f32, f32)> {
    const ZERO: i32 = 255;
    let mut counts = [0_u32; 511];
    for (known, seen) in pairs {
        let bin = ((seen - known).round() as i32).clamp(-ZERO, ZERO) + ZERO;
        counts[usize::try_from(bin).unwrap_or(0)] += 1;
    }
    let half = u32::try_from(pairs.len()).ok()?.div_ceil(2).max(1);
    let mut below = 0;
    let median = counts.iter().position(|count| {
        below += count;
        below >= half
    })?;
    let mut near = 0;
    let spread = (0..counts.len()).find(|&distance| {
        near += counts.get(median + distance).copied().unwrap_or(0);
        if distance > 0 {
            near += median.checked_sub(distance).and_then(|bin| counts.get(bin)).copied().unwrap_or(0);
        }
        near >= half
    })?;
    Some((median as f32 - ZERO as f32, spread as f32))
}

/// Least squares over the pairs within `reach` of `guess`.
fn fit(pairs: &[(f32, f32)], guess: LightChange, reach: f32) -> Option<LightChange> {
    let (mut n, mut x, mut y, mut xx, mut xy) = (0.0_f64, 0.0_f64, 0.0_f64, 0.0_f64, 0.0_f64);
    for &(known, seen) in pairs {
        if USABLE.contains(&seen) && USABLE.contains(&known) && guess.residual((known, seen)) <= reach {
            let (k, s) = (f64::from(known), f64::from(seen));
            n += 1.0;
            x += k;
            y += s;
            xx += k * k;
            xy += k * s;
        }
    }
    if n < 8.0 {
        return None;
    }
    let variance = xx / n - (x / n).powi(2);
    // A flat picture shows the offset only.
    let gain = if variance < 4.0 { 1.0 } else { ((xy / n - x / n * (y / n)) / variance).clamp(0.25, 4.0) };
    Some(LightChange { gain: gain as f32, offset: (y / n - gain * x / n) as f32 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(change: impl Fn(f32) -> f32, covered: usize) -> Vec<(f32, f32)> {
        let value = |i: usize| (i * 37 % 200 + 20) as f32;
        let seen = |i: usize| if i % 100 < covered { 15.0 } else { change(value(i)).clamp(0.0, 255.0).round() };
        (0..4000).map(|i| (value(i), seen(i))).collect()
    }

    #[test]
    fn gain_and_offset_are_found_behind_a_moving_thing() {
        let cases = [(1.0, 25.0, 0), (1.0, -40.0, 20), (0.6, 0.0, 10), (1.3, 10.0, 20), (0.5, 60.0, 0)];
        for (gain, offset, covered) in cases {
            let found = light_change(&pairs(|v| gain * v + offset, covered)).expect("found");
            let close = (found.gain - gain).abs() < 0.05 && (found.offset - offset).abs() < 5.0;
            assert!(close, "{gain} {offset} {covered}: {found:?}");
        }
    }

    #[test]
    fn a_large_thing_or_another_scene_is_no_change_of_light() {
        assert_eq!(light_change(&pairs(|v| v, 40)), None);
        assert_eq!(light_change(&pairs(|v| v + if v as i32 % 2 == 0 { 1.0 } else { -1.0 }, 0)), None);
        let other_scene: Vec<_> = (0..4000).map(|i| ((i * 37 % 200) as f32, (i * 91 % 211) as f32)).collect();
        assert_eq!(light_change(&other_scene), None);
        assert_eq!(light_change(&[]), None);
        assert_eq!(light_change(&[(3.0, 200.0)]), None);
    }
}
