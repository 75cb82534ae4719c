//! The overload ladder.

use std::fmt;

use serde::Serialize;

/// What the box does, from everything to the least. Every level includes those before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LoadLevel {
    /// Everything.
    #[default]
    Normal,
    /// The detector looks half as often.
    HalfRate,
    /// The detector looks a quarter as often.
    QuarterRate,
    /// Cameras that name a lighter model use it.
    LightModel,
    /// No detection; pictures are decoded, and motion is seen.
    MotionOnly,
    /// Nothing is decoded; what is recorded goes on being recorded.
    RecordOnly,
    /// Continuous recording rests; clips of events go on.
    RecordLess,
}

impl LoadLevel {
    const ALL: [Self; 7] = [
        Self::Normal,
        Self::HalfRate,
        Self::QuarterRate,
        Self::LightModel,
        Self::MotionOnly,
        Self::RecordOnly,
        Self::RecordLess,
    ];

    /// 0 to 6.
    pub fn number(self) -> u8 {
        self as u8
    }

    pub(super) fn of(number: u8) -> Self {
        Self::ALL.get(usize::from(number)).copied().unwrap_or(Self::RecordLess)
    }

    pub(super) fn up(self) -> Self {
        Self::of(self.number().saturating_add(1))
    }

    pub(super) fn down(self) -> Self {
        Self::of(self.number().saturating_sub(1))
    }

    /// How many times longer the detector's period is.
    pub fn slowness(self) -> u32 {
        match self {
            Self::Normal => 1,
            Self::HalfRate => 2,
            _ => 4,
        }
    }
}

impl fmt::Display for LoadLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Normal => "normal",
            Self::HalfRate => "half_rate",
            Self::QuarterRate => "quarter_rate",
            Self::LightModel => "light_model",
            Self::MotionOnly => "motion_only",
            Self::RecordOnly => "record_only",
            Self::RecordLess => "record_less",
        })
    }
}
