//! Stage 2: is a frame worth looking at?
//!
//! Inference is what costs, so frames have to earn it. The gate sees a small grey plane of each decoded
//! frame and admits those in which something moves. It fails open: whenever it cannot judge (it has just
//! started, the camera was moved, the plane makes no sense) the frame is admitted, and detection decides.
//!
//! Stages go from cheap to dear, each in a file of its own. `motion` looks at pixels. A stage that looks at
//! packet sizes only, and spares idle cameras the decoding, belongs before it: it is asked per packet, not
//! per frame, so it is to be a type of its own beside [`Gate`], with the same [`Verdict`].

mod background;
mod light;
mod motion;
mod regions;
#[cfg(test)]
mod tests;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Mono;
use crate::detection::BBox;
use crate::frame::Luma;
use crate::polygon::Polygon;

use motion::{Finding, Motion};

/// Longest side of the plane in pixels: enough for a person of 2 % of the picture's height, and cheap.
const PLANE_SIDE: u32 = 192;

/// Motion gate of a camera: `[camera.<name>.motion]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Whether only frames with motion go to detection; `false` sends all. Default: true.
    pub enabled: bool,
    /// How little counts as motion: 0 (large and clear changes) to 1 (small and faint ones). Default: 0.5.
    pub sensitivity: f32,
    /// Areas in which motion is ignored (a busy road, a flag, the camera's own clock), each a list of
    /// `[x, y]` points in 0..1. Default: none.
    pub masks: Vec<Polygon>,
    /// For how long after the last motion frames are still admitted. Default: 3s.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub keep_awake: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self { enabled: true, sensitivity: 0.5, masks: Vec::new(), keep_awake: Duration::from_secs(3) }
    }
}

impl Config {
    /// Checks what the types cannot.
    ///
    /// # Errors
    /// Names the key and the allowed values.
    pub fn validate(&self) -> Result<(), String> {
        if !(0.0..=1.0).contains(&self.sensitivity) {
            return Err(format!("motion: sensitivity = {} must be from 0 to 1", self.sensitivity));
        }
        Ok(())
    }
}

/// What the gate makes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GateState {
    /// The gate is switched off: everything is admitted.
    Off,
    /// Still learning what the empty scene looks like (or the plane was unusable).
    Warming,
    /// Nothing moves.
    Idle,
    /// Something moves.
    Motion,
    /// Nothing moves any more, but did so within `keep_awake`.
    Awake,
    /// Most of the picture differs and light alone does not explain it: the camera was moved, switched to
    /// infrared, or covered. If it stays so, the scene is learned again.
    SceneChange,
}

/// The gate's answer for one frame.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// Why the frame is admitted or not.
    pub state: GateState,
    /// Moving share of the unmasked picture, 0..1; 0 unless the state is [`GateState::Motion`].
    pub area: f32,
    /// Where it moves, largest first, at most 32; empty unless the state is [`GateState::Motion`].
    pub regions: Vec<BBox>,
}

impl Verdict {
    fn still(state: GateState) -> Self {
        Self { state, area: 0.0, regions: Vec::new() }
    }

    /// Whether the frame should go to detection: in every state but [`GateState::Idle`].
    pub fn is_admitted(&self) -> bool {
        self.state != GateState::Idle
    }
}

/// Decides which frames of one camera are worth a look.
#[derive(Debug)]
pub struct Gate {
    enabled: bool,
    keep_awake: Duration,
    motion: Motion,
    last_motion: Option<Mono>,
}

impl Gate {
    /// A gate that knows nothing of the scene yet.
    pub fn new(config: &Config) -> Self {
        let motion = Motion::new(config.sensitivity, config.masks.clone());
        Self { enabled: config.enabled, keep_awake: config.keep_awake, motion, last_motion: None }
    }

    /// The size to which a picture is scaled for [`Gate::admit`]: longest side at most 192, both even, the
    /// picture's aspect as near as that allows; never larger than the picture, never below 2.
    pub fn plane_size(width: u32, height: u32) -> (u32, u32) {
        let longest = width.max(height).max(1);
        let scaled = |side: u32| {
            let side = u64::from(side);
            let fitted = if longest <= PLANE_SIDE {
                side
            } else {
                (side * u64::from(PLANE_SIDE) + u64::from(longest) / 2) / u64::from(longest)
            };
            u32::try_from(fitted & !1).unwrap_or(PLANE_SIDE).max(2)
        };
        (scaled(width), scaled(height))
    }

    /// Looks at the plane of the frame taken at `now`. Any plane size will do; a change of size starts learning
    /// again. Frames may come at any rate: learning goes by time, not by count.
    pub fn admit(&mut self, now: Mono, luma: &Luma) -> Verdict {
        if !self.enabled {
            return Verdict::still(GateState::Off);
        }
        match self.motion.look(now, luma) {
            Finding::Warming => Verdict::still(GateState::Warming),
            Finding::SceneChange => Verdict::still(GateState::SceneChange),
            Finding::Moving { area, regions } => {
                self.last_motion = Some(now);
                Verdict { state: GateState::Motion, area, regions }
            }
            Finding::Still => {
                let is_awake = self.last_motion.is_some_and(|last| now.since(last) < self.keep_awake);
                Verdict::still(if is_awake { GateState::Awake } else { GateState::Idle })
            }
        }
    }
}
