//! Motion in pixels: what does not belong to the learned scene.

use std::time::Duration;

use crate::clock::Mono;
use crate::detection::BBox;
use crate::frame::Luma;
use crate::polygon::Polygon;

use super::background::{Background, Limits, Rates};
use super::light::light_change;
use super::regions::regions;

/// For how long a new scene is only learned.
const WARMING: Duration = Duration::from_millis(1500);
/// For how long most of the picture must differ before the scene is learned again; a flash is shorter.
const RELEARN_AFTER: Duration = Duration::from_millis(600);
/// For how long after a change of light thresholds are raised and the background follows at once.
const SETTLING: Duration = Duration::from_secs(1);
/// How often edges are worked out.
const EDGES_EVERY: Duration = Duration::from_millis(500);
/// Above this share of foreign pixels it is another scene.
const OTHER_SCENE: f32 = 0.5;
/// Below this share it is the same scene, wherever the pixels lie.
const SAME_SCENE: f32 = 0.08;
/// Cells in each direction for judging whether change is everywhere.
const CELLS: usize = 8;
/// Steeper than this is structure, grey levels per pixel.
const STRUCTURE: f32 = 4.0;

/// What one look at a plane shows.
#[derive(Debug, PartialEq)]
pub(super) enum Finding {
    Warming,
    Still,
    Moving { area: f32, regions: Vec<BBox> },
    SceneChange,
}

/// The pixel stage of the gate.
#[derive(Debug)]
pub(super) struct Motion {
    limits: Limits,
    least_area: f32,
    masks: Vec<Polygon>,
    scene: Option<Scene>,
    // Working memory, kept from frame to frame.
    smooth: Vec<u8>,
    rows: Vec<u16>,
    foreign: Vec<u8>,
    pairs: Vec<(f32, f32)>,
    stack: Vec<usize>,
}

#[derive(Debug)]
struct Scene {
    width: usize,
    height: usize,
    watched: Vec<bool>,
    watched_count: usize,
    background: Background,
    born: Mono,
    last: Mono,
    edges_at: Mono,
    settling_until: Mono,
    upset_since: Option<Mono>,
}

impl Motion {
    pub(super) fn new(sensitivity: f32, masks: Vec<Polygon>) -> Self {
        let s = if sensitivity.is_finite() { sensitivity.clamp(0.0, 1.0) } else { 0.5 };
        // Halfway: 12.6 grey levels, 4.6 mean deviations, 0.06 % of the picture (12 pixels of 192x108).
        let between = |blunt: f32, sharp: f32| blunt * (sharp / blunt).powf(s);
        Self {
            limits: Limits { least: between(32.0, 5.0), flicker: between(6.0, 3.5) },
            least_area: between(0.003, 0.000_12),
            masks,
            scene: None,
            smooth: Vec::new(),
            rows: Vec::new(),
            foreign: Vec::new(),
            pairs: Vec::new(),
            stack: Vec::new(),
        }
    }

    pub(super) fn look(&mut self, now: Mono, luma: &Luma) -> Finding {
        let (Ok(width), Ok(height)) = (usize::try_from(luma.width), usize::try_from(luma.height)) else {
            return Finding::Warming;
        };
        if luma.data.is_empty() || width.checked_mul(height) != Some(luma.data.len()) {
            return Finding::Warming;
        }
        blur(&luma.data, width, &mut self.rows, &mut self.smooth);
        self.foreign.resize(luma.data.len(), 0);
        let known = self.scene.take().filter(|scene| (scene.width, scene.height) == (width, height));
        let mut scene = known.unwrap_or_else(|| Scene::new(now, width, height, &self.smooth, &self.masks));
        let finding = self.look_at(&mut scene, now);
        self.scene = Some(scene);
        finding
    }

    fn look_at(&mut self, scene: &mut Scene, now: Mono) -> Finding {
        let step = now.since(scene.last).as_secs_f32();
        scene.last = scene.last.max(now);
        let age = now.since(scene.born);
        if age < WARMING {
            let rates = Rates::warming(step, age.as_secs_f32());
            scene.background.look(&self.smooth, &scene.watched, self.limits, rates, &mut self.foreign);
            return Finding::Warming;
        }
        scene.follow_light(now, &self.smooth, &mut self.pairs);
        let (mut limits, mut rates) = (self.limits, Rates::steady(step, age.as_secs_f32()));
        if now < scene.settling_until {
            limits.least *= 1.5;
            rates = Rates::settling(step, age.as_secs_f32());
        }
        let count = scene.background.look(&self.smooth, &scene.watched, limits, rates, &mut self.foreign);
        if scene.is_upset(count, &self.foreign) {
            let since = *scene.upset_since.get_or_insert(now);
            if now.since(since) >= RELEARN_AFTER {
                *scene = Scene::new(now, scene.width, scene.height, &self.smooth, &self.masks);
                return Finding::Warming;
            }
            return Finding::SceneChange;
        }
        scene.upset_since = None;
        self.moving(scene)
    }

    fn moving(&mut self, scene: &Scene) -> Finding {
        let least = (self.least_area * self.foreign.len() as f32).ceil() as usize;
        let (found, pixels) = regions(&mut self.foreign, scene.width, least, &mut self.stack);
        if found.is_empty() {
            return Finding::Still;
        }
        let area = pixels as f32 / scene.watched_count.max(1) as f32;
        Finding::Moving { area, regions: found.iter().map(|region| region.bbox).collect() }
    }
}

impl Scene {
    fn new(now: Mono, width: usize, height: usize, plane: &[u8], masks: &[Polygon]) -> Self {
        let watched = watched(width, height, masks);
        let watched_count = watched.iter().filter(|&&w| w).count();
        let background = Background::new(width, plane);
        Self {
            width,
            height,
            watched,
            watched_count,
            background,
            born: now,
            last: now,
            edges_at: now,
            settling_until: now,
            upset_since: None,
        }
    }

    /// Moves the background into today's light and, now and then, works out its edges.
    fn follow_light(&mut self, now: Mono, plane: &[u8], pairs: &mut Vec<(f32, f32)>) {
        // A few thousand pixels are enough; an odd stride does not fall into step with the rows.
        let stride = (plane.len() / 4000).max(1) | 1;
        pairs.clear();
        let all = self.background.values().zip(plane).zip(&self.watched);
        pairs.extend(all.step_by(stride).filter(|(_, w)| **w).map(|((known, &seen), _)| (known, f32::from(seen))));
        if let Some(change) = light_change(pairs) {
            self.background.relight(change.gain, change.offset);
            self.settling_until = now + SETTLING;
            self.edges_at = now;
        } else if now.since(self.edges_at) >= EDGES_EVERY {
            self.background.find_edges();
            self.edges_at = now;
        }
    }

    /// Whether so much is foreign, or foreign in so many places, that no object explains it.
    fn is_upset(&self, count: usize, foreign: &[u8]) -> bool {
        let share = count as f32 / self.watched_count.max(1) as f32;
        if share > OTHER_SCENE {
            return true;
        }
        if share < SAME_SCENE || self.width < 2 * CELLS || self.height < 2 * CELLS {
            return false;
        }
        // A moved camera changes every place that has structure; flat places (sky, walls) look as before.
        let (mut pixels, mut steep, mut changed) =
            ([0_u32; CELLS * CELLS], [0_u32; CELLS * CELLS], [0_u32; CELLS * CELLS]);
        let edges = self.background.edges();
        for (at, ((&mark, &watched), &edge)) in foreign.iter().zip(&self.watched).zip(edges).enumerate() {
            let (x, y) = (at % self.width, at / self.width);
            let cell = (y * CELLS / self.height) * CELLS + x * CELLS / self.width;
            pixels[cell] += u32::from(watched);
            steep[cell] += u32::from(watched && edge > STRUCTURE);
            changed[cell] += u32::from(mark);
        }
        let cells = || (0..CELLS * CELLS).filter(|&c| pixels[c] > 0);
        let structured = cells().filter(|&c| steep[c] * 10 >= pixels[c]);
        let (mut all, mut hit) = (0, 0);
        for cell in structured {
            all += 1;
            hit += usize::from(changed[cell] * 8 >= pixels[cell]);
        }
        all * 4 >= cells().count() && hit * 3 >= all * 2
    }
}

/// Which pixels' centres lie in no mask.
fn watched(width: usize, height: usize, masks: &[Polygon]) -> Vec<bool> {
    let centre = |at: usize, side: usize| (at as f32 + 0.5) / side as f32;
    let is_watched = |x: usize, y: usize| !masks.iter().any(|m| m.contains([centre(x, width), centre(y, height)]));
    (0..height).flat_map(|y| (0..width).map(move |x| (x, y))).map(|(x, y)| is_watched(x, y)).collect()
}

/// Smooths with weights 1 2 1 in both directions, which takes away most of a sensor's noise.
fn blur(plane: &[u8], width: usize, rows: &mut Vec<u16>, out: &mut Vec<u8>) {
    rows.clear();
    out.clear();
    for row in plane.chunks_exact(width) {
        let at = |x: usize| u16::from(row.get(x).copied().unwrap_or_default());
        let last = width - 1;
        rows.push(3 * at(0) + at(1.min(last)));
        rows.extend(row.windows(3).map(|w| u16::from(w[0]) + 2 * u16::from(w[1]) + u16::from(w[2])));
        if width > 1 {
            rows.push(at(last - 1) + 3 * at(last));
        }
    }
    let height = plane.len() / width;
    let line = |y: usize| &rows[y * width..(y + 1) * width];
    for y in 0..height {
        let (above, here, below) = (line(y.saturating_sub(1)), line(y), line((y + 1).min(height - 1)));
        let sums = above.iter().zip(here).zip(below).map(|((a, h), b)| (a + 2 * h + b + 8) >> 4);
        // At most (4 * 255 * 4 + 8) / 16.
        out.extend(sums.map(|sum| u8::try_from(sum).unwrap_or(u8::MAX)));
    }
}
