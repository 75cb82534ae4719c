//! What the scene looks like when nothing happens, pixel by pixel.
//!
//! Each pixel remembers two values: the usual one and an alternate, with the share of time that the alternate
//! holds. A waving branch alternates between leaf and sky, and both become background; a parked car becomes
//! background once it has held its pixels for long enough, and the road below it is still known when it leaves.
//! Each pixel also learns how much it flickers, so a noisy sensor raises its own threshold, and edges get an
//! allowance for the half pixel by which a camera on a pole shakes.

/// Share of time from which the alternate counts as background.
const BACKGROUND_SHARE: f32 = 0.15;
/// Share with which a newly seen value starts; below it the alternate is free for another value.
const NEW_SHARE: f32 = 0.02;
/// How many times faster an alternate that is not background yet fades when contradicted.
const FADE: f32 = 3.0;
/// Seconds in which the usual value follows slow change (dusk, shadows).
const BASE_S: f32 = 5.0;
/// Seconds in which the alternate follows its pixel.
const OTHER_S: f32 = 1.0;
/// Seconds in which flicker is learned.
const FLICKER_S: f32 = 10.0;
/// Seconds over which shares are reckoned. From `NEW_SHARE` to `BACKGROUND_SHARE` it takes 0.142 of it: 30 s.
const SHARE_S: f32 = 210.0;
/// The same for a background younger than that: what it believes is worth less.
const YOUNG_SHARE_S: f32 = 60.0;
/// Pixels by which edges may shake.
const SHAKE_PIXELS: f32 = 0.7;
/// Most that flicker adds to the threshold, grey levels.
const MOST_FLICKER: f32 = 60.0;

/// From where on a difference counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Least difference, grey levels.
    pub least: f32,
    /// Multiple of the pixel's mean deviation.
    pub flicker: f32,
}

/// Shares of the way that values go towards what is seen, for one time step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rates {
    base: f32,
    other: f32,
    flicker: f32,
    share: f32,
    /// Part of the threshold within which the usual value follows.
    reach: f32,
}

impl Rates {
    /// For a background that has been learned for `age` seconds, `step` seconds after the last look.
    pub(super) fn steady(step: f32, age: f32) -> Self {
        Self {
            base: towards(step, BASE_S),
            other: towards(step, OTHER_S),
            flicker: towards(step, FLICKER_S),
            share: towards(step, age.clamp(YOUNG_SHARE_S, SHARE_S)),
            reach: 0.5,
        }
    }

    /// While the light settles, the usual value follows at once.
    pub(super) fn settling(step: f32, age: f32) -> Self {
        Self { base: towards(step, 0.4), reach: 1.0, ..Self::steady(step, age) }
    }

    /// For the first look at a scene: what is seen for most of the time wins.
    pub(super) fn warming(step: f32, age: f32) -> Self {
        let average = if age > 0.0 { (step / age).min(1.0) } else { 1.0 };
        Self { base: average, other: average, flicker: average, share: towards(step, 0.5), reach: 1.0 }
    }
}

/// Share of the remaining way that an exponential with time constant `tau_s` goes in `step` seconds.
fn towards(step: f32, tau_s: f32) -> f32 {
    1.0 - (-step / tau_s).exp()
}

#[derive(Clone, Copy, Debug)]
struct Pixel {
    base: f32,
    other: f32,
    /// Share of time of `other`, 0..0.5; below [`NEW_SHARE`] there is no other.
    share: f32,
    /// Mean absolute deviation from the value that matched.
    flicker: f32,
}

impl Pixel {
    /// Learns `seen` and says whether it is foreign to the background.
    fn look(&mut self, seen: f32, allowance: f32, limits: Limits, rates: Rates) -> bool {
        let limit = limits.least.max((limits.flicker * self.flicker).min(MOST_FLICKER)) + allowance;
        let off_base = seen - self.base;
        let distance = off_base.abs();
        if distance > limit {
            return !self.try_other(seen, limit, rates);
        }
        self.flicker += rates.flicker * (distance - self.flicker);
        if distance <= rates.reach * limit {
            self.base += rates.base * off_base;
            self.share *= 1.0 - rates.share;
        } else {
            // The rim of a parked car is a mix of car and road: not foreign, but the road is not to drift there.
            self.try_other(seen, limit, rates);
        }
        false
    }

    /// Weighs `seen` against the alternate and says whether that is background.
    fn try_other(&mut self, seen: f32, limit: f32, rates: Rates) -> bool {
        let off_other = seen - self.other;
        if self.share >= NEW_SHARE && off_other.abs() <= limit {
            self.other += rates.other * off_other;
            self.share += rates.share * (1.0 - self.share);
            let is_background = self.share >= BACKGROUND_SHARE;
            if is_background {
                self.flicker += rates.flicker * (off_other.abs() - self.flicker);
            }
            if self.share > 0.5 {
                std::mem::swap(&mut self.base, &mut self.other);
                self.share = 1.0 - self.share;
            }
            return is_background;
        }
        let fade = if self.share >= BACKGROUND_SHARE { rates.share } else { FADE * rates.share };
        self.share *= 1.0 - fade.min(1.0);
        if self.share <= NEW_SHARE {
            self.other = seen;
            self.share = NEW_SHARE;
        }
        false
    }
}

/// The learned scene.
#[derive(Debug)]
pub(super) struct Background {
    width: usize,
    pixels: Vec<Pixel>,
    /// Steepness at each pixel, grey levels per pixel.
    edges: Vec<f32>,
}

impl Background {
    /// Starts with what is seen now.
    pub(super) fn new(width: usize, plane: &[u8]) -> Self {
        let start = |&value: &u8| Pixel { base: f32::from(value), other: 0.0, share: 0.0, flicker: 0.0 };
        let mut background = Self { width, pixels: plane.iter().map(start).collect(), edges: vec![0.0; plane.len()] };
        background.find_edges();
        background
    }

    /// The usual values.
    pub(super) fn values(&self) -> impl Iterator<Item = f32> + '_ {
        self.pixels.iter().map(|p| p.base)
    }

    /// Steepness at each pixel, grey levels per pixel, as of the last [`Background::find_edges`].
    pub(super) fn edges(&self) -> &[f32] {
        &self.edges
    }

    /// Learns `plane`, marks in `foreign` the watched pixels that do not belong, and counts them.
    pub(super) fn look(
        &mut self,
        plane: &[u8],
        watched: &[bool],
        limits: Limits,
        rates: Rates,
        foreign: &mut [u8],
    ) -> usize {
        let mut count = 0;
        let input = plane.iter().zip(watched).zip(&self.edges);
        for ((pixel, mark), ((&seen, &is_watched), &edge)) in self.pixels.iter_mut().zip(foreign).zip(input) {
            let is_foreign = is_watched && pixel.look(f32::from(seen), SHAKE_PIXELS * edge, limits, rates);
            *mark = u8::from(is_foreign);
            count += usize::from(is_foreign);
        }
        count
    }

    /// Moves the whole scene into another light: each value becomes `gain * value + offset`.
    pub(super) fn relight(&mut self, gain: f32, offset: f32) {
        for pixel in &mut self.pixels {
            pixel.base = (gain * pixel.base + offset).clamp(0.0, 255.0);
            pixel.other = (gain * pixel.other + offset).clamp(0.0, 255.0);
        }
        self.find_edges();
    }

    /// Works out again where the scene is steep.
    pub(super) fn find_edges(&mut self) {
        let (width, pixels) = (self.width, &self.pixels);
        let rows = pixels.len().checked_div(width).unwrap_or(0);
        if width < 3 || rows < 3 {
            return;
        }
        for row in 1..rows - 1 {
            let line = |row: usize| &pixels[row * width..(row + 1) * width];
            let (above, here, below) = (line(row - 1), line(row), line(row + 1));
            let edges = &mut self.edges[row * width + 1..(row + 1) * width - 1];
            let vertical = above[1..].iter().zip(&below[1..]);
            let horizontal = here.iter().zip(&here[2..]);
            for (edge, ((a, b), (l, r))) in edges.iter_mut().zip(vertical.zip(horizontal)) {
                *edge = (a.base - b.base).abs().max((l.base - r.base).abs()) / 2.0;
            }
        }
    }
}
