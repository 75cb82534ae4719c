//! Where a box will be: constant velocity, with the uncertainty that comes with time.
//!
//! Centre and size are four independent axes, so each is a filter of two numbers (value and velocity) and no
//! matrix library is needed. Noise is reckoned in box sizes, so near and far objects are treated alike, and
//! per second, so frames may come at any distance in time.

use crate::detection::BBox;

/// Spread of a detector's box from frame to frame, in box sizes.
const JITTER: f32 = 0.05;
/// How fast an unknown object may move at first, box sizes per second.
const FIRST_SPEED: f32 = 3.5;
/// How much its speed wanders within a second, box sizes per second.
const SPEED_WANDER: f32 = 1.0;
/// The same for growing and shrinking.
const FIRST_GROWTH: f32 = 0.3;
const GROWTH_WANDER: f32 = 0.3;
/// Nothing is believed to keep its speed for long when it is not seen: the speed's time constant, seconds.
const COASTING_S: f32 = 1.5;
/// The same for growth; a box must not swell behind a tree.
const SWELLING_S: f32 = 0.5;
/// Longest time step that is reckoned with, seconds: beyond it everything is possible anyway.
const LONGEST_STEP_S: f32 = 10.0;
/// Smallest side of a box, share of the picture.
const SMALLEST: f32 = 1e-4;

/// One axis: a value, its velocity, and their covariance.
#[derive(Clone, Copy, Debug)]
struct Axis {
    value: f32,
    velocity: f32,
    value_var: f32,
    cross_var: f32,
    velocity_var: f32,
}

impl Axis {
    fn new(value: f32, deviation: f32, speed: f32) -> Self {
        Self { value, velocity: 0.0, value_var: deviation.powi(2), cross_var: 0.0, velocity_var: speed.powi(2) }
    }

    /// Lets `step` seconds go by. `wander` is the density of the speed's random walk.
    fn predict(&mut self, step: f32, wander: f32, coasting: f32) {
        // The way that a speed decaying with `coasting` covers in `step`.
        let kept = (-step / coasting).exp();
        let reach = coasting * (1.0 - kept);
        self.value += self.velocity * reach;
        self.velocity *= kept;
        let q = wander.powi(2);
        self.value_var += 2.0 * reach * self.cross_var + reach.powi(2) * self.velocity_var + q * step.powi(3) / 3.0;
        self.cross_var = kept * (self.cross_var + reach * self.velocity_var) + q * step.powi(2) / 2.0;
        self.velocity_var = kept.powi(2) * self.velocity_var + q * step;
    }

    fn correct(&mut self, seen: f32, deviation: f32) {
        let variance = self.value_var + deviation.powi(2);
        if variance <= 0.0 {
            return;
        }
        let (value_gain, velocity_gain) = (self.value_var / variance, self.cross_var / variance);
        let surprise = seen - self.value;
        self.value += value_gain * surprise;
        self.velocity += velocity_gain * surprise;
        self.velocity_var = (self.velocity_var - velocity_gain * self.cross_var).max(0.0);
        self.cross_var *= 1.0 - value_gain;
        self.value_var *= 1.0 - value_gain;
    }
}

/// Motion of one box.
#[derive(Clone, Debug)]
pub(super) struct Kalman {
    x: Axis,
    y: Axis,
    w: Axis,
    h: Axis,
}

impl Kalman {
    /// Seen once, at rest as far as is known.
    pub(super) fn new(bbox: &BBox) -> Self {
        let ([x, y], size) = (bbox.centre(), size(bbox));
        let axis = |value, speed: f32| Axis::new(value, JITTER * size, speed * size);
        Self {
            x: axis(x, FIRST_SPEED),
            y: axis(y, FIRST_SPEED),
            w: axis(bbox.w, FIRST_GROWTH),
            h: axis(bbox.h, FIRST_GROWTH),
        }
    }

    /// Lets `seconds` go by.
    pub(super) fn predict(&mut self, seconds: f32) {
        let step = seconds.clamp(0.0, LONGEST_STEP_S);
        let size = size(&self.raw());
        for axis in [&mut self.x, &mut self.y] {
            axis.predict(step, SPEED_WANDER * size, COASTING_S);
        }
        for axis in [&mut self.w, &mut self.h] {
            axis.predict(step, GROWTH_WANDER * size, SWELLING_S);
            axis.value = axis.value.clamp(SMALLEST, 2.0);
        }
        for axis in [&mut self.x, &mut self.y] {
            axis.value = axis.value.clamp(-1.0, 2.0);
        }
    }

    /// Takes in a detection made now.
    pub(super) fn correct(&mut self, seen: &BBox) {
        let ([x, y], deviation) = (seen.centre(), JITTER * size(seen));
        self.x.correct(x, deviation);
        self.y.correct(y, deviation);
        self.w.correct(seen.w, deviation);
        self.h.correct(seen.h, deviation);
    }

    /// The box, cut to the picture.
    pub(super) fn bbox(&self) -> BBox {
        let raw = self.raw();
        BBox::from_corners(raw.x, raw.y, raw.x + raw.w, raw.y + raw.h)
    }

    /// The box as it is believed, part of which may lie outside the picture.
    pub(super) fn raw(&self) -> BBox {
        let (w, h) = (self.w.value.max(SMALLEST), self.h.value.max(SMALLEST));
        BBox { x: self.x.value - w / 2.0, y: self.y.value - h / 2.0, w, h }
    }

    /// How far `seen` is from where the centre is expected: squared, in deviations (chi-squared with two degrees
    /// of freedom when it is the same object).
    pub(super) fn surprise(&self, seen: &BBox) -> f32 {
        let ([x, y], noise) = (seen.centre(), (JITTER * size(seen)).powi(2));
        (x - self.x.value).powi(2) / (self.x.value_var + noise)
            + (y - self.y.value).powi(2) / (self.y.value_var + noise)
    }
}

/// What lengths are measured in: the geometric mean of the sides, but a stick is not a point.
pub(super) fn size(bbox: &BBox) -> f32 {
    (bbox.w * bbox.h).sqrt().max(bbox.w.max(bbox.h) / 2.0).max(SMALLEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn square(x: f32) -> BBox {
        BBox { x: x - 0.05, y: 0.45, w: 0.1, h: 0.1 }
    }

    #[test]
    fn a_steady_walk_is_foreseen_at_irregular_steps() {
        let mut kalman = Kalman::new(&square(0.1));
        let (mut t, speed) = (0.0, 0.1);
        for step in [0.1, 0.05, 0.4, 0.2, 0.05, 0.3, 0.2, 0.2] {
            t += step;
            kalman.predict(step);
            kalman.correct(&square(0.1 + speed * t));
        }
        kalman.predict(0.5);
        let [x, y] = kalman.raw().centre();
        assert!((x - (0.1 + speed * (t + 0.5))).abs() < 0.012 && (y - 0.5).abs() < 1e-3, "{x} {y}");
    }

    #[test]
    fn one_long_step_is_about_as_uncertain_as_many_short_ones() {
        let (mut once, mut often) = (Kalman::new(&square(0.5)), Kalman::new(&square(0.5)));
        once.predict(1.0);
        (0..20).for_each(|_| often.predict(0.05));
        let ratio = once.x.value_var / often.x.value_var;
        assert!((0.7..1.5).contains(&ratio), "{ratio}");
    }

    #[test]
    fn surprise_grows_with_distance_and_falls_with_time() {
        let mut kalman = Kalman::new(&square(0.5));
        kalman.predict(0.1);
        let soon = kalman.surprise(&square(0.6));
        assert!(soon > kalman.surprise(&square(0.52)));
        kalman.predict(1.0);
        assert!(kalman.surprise(&square(0.6)) < soon);
    }
}
