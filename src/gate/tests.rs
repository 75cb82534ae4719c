//! The gate against synthetic scenes.

use super::*;
use proptest::prelude::*;

const WIDTH: i32 = 160;
const HEIGHT: i32 = 120;

/// A textured yard under a flat sky, with sensor noise, filmed at a steady rate.
struct Film {
    gate: Gate,
    random: fastrand::Rng,
    noise: f32,
    fps: f32,
    frame: u32,
}

impl Film {
    fn new(config: &Config, fps: f32) -> Self {
        Self { gate: Gate::new(config), random: fastrand::Rng::with_seed(7), noise: 3.0, fps, frame: 0 }
    }

    fn seconds(&self) -> f32 {
        self.frame as f32 / self.fps
    }

    /// Shows one frame; `paint` may change each pixel's value, given x, y and what the yard has there.
    fn show(&mut self, paint: impl Fn(i32, i32, f32) -> f32) -> Verdict {
        let mut data = Vec::new();
        for y in 0..HEIGHT {
            for x in 0..WIDTH {
                // Sum of three uniform values: near enough to a bell curve of this deviation.
                let noise = (0..3).map(|_| self.random.f32() * 2.0 - 1.0).sum::<f32>() * self.noise;
                data.push((paint(x, y, yard(x, y)) + noise).round().clamp(0.0, 255.0) as u8);
            }
        }
        let now = Mono((f64::from(self.seconds()) * 1e9) as u64 + 1_000_000_000);
        self.frame += 1;
        self.gate.admit(now, &Luma { width: WIDTH as u32, height: HEIGHT as u32, data })
    }

    fn show_for(&mut self, seconds: f32, paint: impl Fn(f32, i32, i32, f32) -> f32) -> Vec<GateState> {
        let (start, mut states) = (self.seconds(), Vec::new());
        while self.seconds() - start < seconds {
            let t = self.seconds() - start;
            states.push(self.show(|x, y, v| paint(t, x, y, v)).state);
        }
        states
    }

    fn settle(&mut self, seconds: f32) {
        self.show_for(seconds, |_, _, _, v| v);
    }
}

fn yard(x: i32, y: i32) -> f32 {
    if y < 30 {
        return 180.0;
    }
    let tile = (x / 9 * 31 + y / 7 * 17) % 5;
    90.0 + 12.0 * tile as f32 + 10.0 * (x as f32 / 11.0).sin()
}

/// A rectangle of `w` x `h` whose left upper corner is at `left`, `top`.
fn within(x: i32, y: i32, left: f32, top: f32, w: f32, h: f32) -> bool {
    (left..left + w).contains(&(x as f32)) && (top..top + h).contains(&(y as f32))
}

fn share(states: &[GateState], state: GateState) -> f32 {
    states.iter().filter(|&&s| s == state).count() as f32 / states.len() as f32
}

fn quick_sleeper() -> Config {
    Config { keep_awake: Duration::ZERO, ..Config::default() }
}

#[test]
fn planes_keep_the_aspect_and_stay_small() {
    let cases = [
        ((1920, 1080), (192, 108)),
        ((1080, 1920), (108, 192)),
        ((640, 480), (192, 144)),
        ((3840, 2160), (192, 108)),
        ((100, 75), (100, 74)),
        ((10_000, 1), (192, 2)),
        ((1, 1), (2, 2)),
        ((0, 0), (2, 2)),
        ((u32::MAX, u32::MAX), (192, 192)),
    ];
    for ((w, h), expected) in cases {
        assert_eq!(Gate::plane_size(w, h), expected, "{w}x{h}");
    }
}

#[test]
fn a_gate_that_is_off_admits_everything() {
    let mut film = Film::new(&Config { enabled: false, ..Config::default() }, 5.0);
    assert_eq!(film.show(|_, _, v| v).state, GateState::Off);
    assert!(film.show(|_, _, v| v).is_admitted());
}

#[test]
fn a_fresh_gate_admits_while_it_warms_and_is_then_idle_at_any_rate_and_noise() {
    for (fps, noise) in [(1.0, 3.0), (5.0, 1.0), (5.0, 8.0), (25.0, 4.0), (0.2, 3.0)] {
        let mut film = Film::new(&Config::default(), fps);
        film.noise = noise;
        let verdict = film.show(|_, _, v| v);
        assert!(verdict.is_admitted() && verdict.state == GateState::Warming);
        film.settle(20.0);
        let states = film.show_for(30.0, |_, _, _, v| v);
        assert_eq!(share(&states, GateState::Idle), 1.0, "fps {fps}, noise {noise}: {states:?}");
    }
}

#[test]
fn a_walking_figure_is_seen_as_far_as_the_sensitivity_goes() {
    // Sensitivity, contrast, least and most share of frames.
    let cases = [
        (0.5, 60.0, 0.95, 1.0),
        (0.5, -30.0, 0.9, 1.0),
        (0.5, 6.0, 0.0, 0.02),
        (1.0, 15.0, 0.8, 1.0),
        (0.0, 20.0, 0.0, 0.02),
        (0.0, 90.0, 0.9, 1.0),
    ];
    for fps in [1.0, 25.0] {
        for (sensitivity, contrast, least, most) in cases {
            let mut film = Film::new(&Config { sensitivity, ..quick_sleeper() }, fps);
            film.settle(6.0);
            let states = film.show_for(8.0, |t, x, y, v| {
                v + if within(x, y, 20.0 + 12.0 * t, 50.0, 12.0, 34.0) { contrast } else { 0.0 }
            });
            let moving = share(&states, GateState::Motion);
            let fits = (least..=most).contains(&moving);
            assert!(fits, "fps {fps}, sensitivity {sensitivity}, contrast {contrast}: {moving}");
        }
    }
}

#[test]
fn the_region_lies_around_the_figure_and_the_area_is_its_share() {
    let mut film = Film::new(&Config::default(), 5.0);
    film.settle(5.0);
    let verdict = film.show(|x, y, v| if within(x, y, 40.0, 60.0, 16.0, 30.0) { v + 70.0 } else { v });
    let figure = BBox { x: 40.0 / 160.0, y: 0.5, w: 0.1, h: 0.25 };
    let [region] = verdict.regions.as_slice() else { panic!("one region: {verdict:?}") };
    assert!(region.iou(&figure) > 0.7, "{region:?}");
    assert!((verdict.area / figure.area() - 1.0).abs() < 0.3, "{}", verdict.area);
}

#[test]
fn light_that_changes_everywhere_is_no_motion() {
    type Light = fn(f32, f32) -> f32;
    let cases: &[(&str, Light)] = &[
        ("step up", |_, v| v + 40.0),
        ("step down", |_, v| v - 30.0),
        ("half the light", |_, v| 0.5 * v),
        ("more contrast", |_, v| 1.5 * v - 40.0),
        ("slow ramp", |t, v| v + 3.0 * t.min(20.0)),
        ("quick ramp", |t, v| v + 30.0 * t.min(2.0)),
        ("passing cloud", |t, v| v * (1.0 - 0.3 * (t / 3.0).sin().abs())),
    ];
    for fps in [1.0, 10.0] {
        for (name, light) in cases {
            let mut film = Film::new(&quick_sleeper(), fps);
            film.settle(6.0);
            let states = film.show_for(24.0, |t, _, _, v| light(t, v));
            assert_eq!(share(&states, GateState::Motion), 0.0, "{name} at {fps} fps: {states:?}");
            assert_eq!(share(&states, GateState::Idle), 1.0, "{name} at {fps} fps: {states:?}");
        }
    }
}

#[test]
fn a_figure_is_still_seen_when_the_light_changes_behind_it() {
    let mut film = Film::new(&quick_sleeper(), 5.0);
    film.settle(6.0);
    let states = film.show_for(6.0, |t, x, y, v| {
        let v = if within(x, y, 20.0 + 12.0 * t, 50.0, 14.0, 36.0) { v + 60.0 } else { v };
        if t < 3.0 { v } else { 0.7 * v }
    });
    assert!(share(&states, GateState::Motion) > 0.9, "{states:?}");
}

#[test]
fn waving_leaves_become_background_and_do_not_hide_a_figure() {
    // Each tuft of 4x4 pixels swings between leaf and sky at its own pace.
    let leaves = |t: f32, x: i32, y: i32, v: f32| {
        let phase = (x / 4 * 7 + y / 4 * 13) as f32;
        let swing = (t * (4.0 + phase % 5.0) + phase).sin();
        if x > 100 && y < 60 && swing > 0.2 { v - 70.0 } else { v }
    };
    let mut film = Film::new(&quick_sleeper(), 5.0);
    film.settle(5.0);
    let gust = film.show_for(5.0, leaves);
    assert!(share(&gust, GateState::Motion) > 0.5, "at first they move: {gust:?}");
    film.show_for(175.0, leaves);
    let windy = film.show_for(60.0, leaves);
    assert!(share(&windy, GateState::Idle) > 0.9, "{}", share(&windy, GateState::Idle));
    let figure =
        film.show_for(
            5.0,
            |t, x, y, v| {
                if within(x, y, 90.0 + 10.0 * t, 20.0, 12.0, 34.0) { 240.0 } else { leaves(t, x, y, v) }
            },
        );
    assert!(share(&figure, GateState::Motion) > 0.9, "{figure:?}");
}

#[test]
fn a_camera_that_shakes_a_little_stays_idle() {
    let mut film = Film::new(&quick_sleeper(), 10.0);
    film.settle(5.0);
    let states = film.show_for(20.0, |t, x, y, v| {
        // Up to a pixel to either side.
        let shift = (t * 17.0).sin();
        let next = yard(x + if shift > 0.0 { 1 } else { -1 }, y);
        v + shift.abs() * (next - v)
    });
    assert_eq!(share(&states, GateState::Idle), 1.0, "{states:?}");
}

#[test]
fn a_moved_camera_learns_the_new_scene() {
    for fps in [1.0, 10.0] {
        let mut film = Film::new(&quick_sleeper(), fps);
        film.settle(10.0);
        let states = film.show_for(10.0, |_, x, y, _| yard(x + 5, y + 9));
        assert_eq!(states[0], GateState::SceneChange, "{fps} fps: {states:?}");
        assert!(states.contains(&GateState::Warming), "{fps} fps: {states:?}");
        assert_eq!(share(&states[states.len() / 2..], GateState::Idle), 1.0, "{fps} fps: {states:?}");
    }
}

#[test]
fn a_flash_is_forgotten() {
    let mut film = Film::new(&quick_sleeper(), 10.0);
    film.settle(6.0);
    let flash = film.show_for(0.2, |_, x, y, _| if (x / 20 + y / 20) % 2 == 0 { 255.0 } else { 20.0 });
    assert_eq!(share(&flash, GateState::SceneChange), 1.0, "{flash:?}");
    let after = film.show_for(2.0, |_, _, _, v| v);
    assert_eq!(share(&after, GateState::Idle), 1.0, "{after:?}");
}

#[test]
fn masked_areas_are_not_looked_at() {
    let left_half = Polygon::new(vec![[0.0, 0.0], [0.5, 0.0], [0.5, 1.0], [0.0, 1.0]]).expect("valid");
    let mut film = Film::new(&Config { masks: vec![left_half], ..quick_sleeper() }, 5.0);
    film.settle(5.0);
    let figure = |left: f32| move |x: i32, y: i32, v: f32| if within(x, y, left, 50.0, 12.0, 30.0) { 250.0 } else { v };
    assert_eq!(film.show(figure(30.0)).state, GateState::Idle);
    let seen = film.show(figure(120.0));
    assert_eq!(seen.state, GateState::Motion);
    // 12x30 of the 80x120 that are left.
    assert!((seen.area / (360.0 / 9600.0) - 1.0).abs() < 0.4, "{}", seen.area);
}

#[test]
fn everything_masked_is_idle_for_ever() {
    let all = Polygon::new(vec![[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]).expect("valid");
    let mut film = Film::new(&Config { masks: vec![all], ..quick_sleeper() }, 5.0);
    film.settle(5.0);
    assert_eq!(film.show(|x, _, _| x as f32).state, GateState::Idle);
}

#[test]
fn a_parked_car_becomes_background_and_leaves_no_ghost() {
    let mut film = Film::new(&quick_sleeper(), 2.0);
    film.settle(240.0);
    let car = |_: f32, x: i32, y: i32, v: f32| if within(x, y, 60.0, 60.0, 50.0, 25.0) { 30.0 } else { v };
    let parked = film.show_for(120.0, car);
    assert!(share(&parked[..40], GateState::Motion) > 0.99, "not at once: {parked:?}");
    assert_eq!(share(&parked[120..], GateState::Idle), 1.0, "after a minute: {parked:?}");
    let gone = film.show_for(20.0, |_, _, _, v| v);
    // A rim of pixels in which car and road are mixed may linger for some frames.
    assert_eq!(share(&gone[10..], GateState::Idle), 1.0, "the road is still known: {gone:?}");
    assert!(share(&gone, GateState::Idle) > 0.9, "{gone:?}");
}

#[test]
fn a_figure_that_walks_slowly_does_not_vanish() {
    for fps in [1.0, 10.0] {
        let mut film = Film::new(&quick_sleeper(), fps);
        film.settle(60.0);
        let states =
            film.show_for(60.0, |t, x, y, v| if within(x, y, 40.0 + 1.2 * t, 50.0, 12.0, 34.0) { v - 45.0 } else { v });
        assert!(share(&states, GateState::Motion) > 0.98, "{fps} fps: {states:?}");
    }
}

#[test]
fn frames_are_admitted_for_a_while_after_the_last_motion() {
    let mut film = Film::new(&Config { keep_awake: Duration::from_secs(3), ..Config::default() }, 5.0);
    film.settle(6.0);
    film.show(|x, y, v| if within(x, y, 60.0, 60.0, 20.0, 30.0) { 250.0 } else { v });
    let states = film.show_for(5.0, |_, _, _, v| v);
    assert_eq!(states[..14], [GateState::Awake; 14]);
    assert_eq!(states[16..], vec![GateState::Idle; states.len() - 16]);
}

#[test]
fn another_plane_size_starts_again() {
    let mut film = Film::new(&quick_sleeper(), 5.0);
    film.settle(6.0);
    let other = Luma { width: 64, height: 48, data: vec![90; 64 * 48] };
    assert_eq!(film.gate.admit(Mono(10_000_000_000), &other).state, GateState::Warming);
    assert_eq!(film.gate.admit(Mono(12_000_000_000), &other).state, GateState::Idle);
}

#[test]
fn config_is_written_as_read_and_checked() {
    let text = "sensitivity = 0.7\nmasks = [[[0, 0], [1, 0], [0.5, 0.5]]]\nkeep_awake = \"1m 30s\"\n";
    let config: Config = toml::from_str(text).expect("valid");
    assert_eq!((config.enabled, config.keep_awake), (true, Duration::from_secs(90)));
    assert_eq!(toml::from_str::<Config>(&toml::to_string(&config).expect("toml")).expect("again"), config);
    assert!(toml::from_str::<Config>("sensitvity = 1.0").is_err());
    assert!(Config { sensitivity: 1.5, ..config.clone() }.validate().is_err() && config.validate().is_ok());
}

proptest! {
    #[test]
    fn any_plane_at_any_time_is_judged(
        frames in prop::collection::vec((0u32..40, 0u32..40, 0u64..5_000_000_000, any::<u8>(), -3i32..3), 1..20),
        sensitivity in prop_oneof![Just(f32::NAN), -1.0f32..2.0],
    ) {
        let mask = Polygon::new(vec![[0.0, 0.0], [0.3, 0.0], [0.0, 0.3]]).expect("valid");
        let mut gate = Gate::new(&Config { sensitivity, masks: vec![mask], ..Config::default() });
        for (width, height, now, value, wrong) in frames {
            let len = (width * height).saturating_add_signed(wrong.max(0));
            let data: Vec<u8> = (0..len).map(|i| value.wrapping_mul((i % 251) as u8)).collect();
            // The same plane twice, the second time later or (every other time) earlier.
            for at in [Mono(now), Mono(now ^ 0x8000_0000)] {
                let verdict = gate.admit(at, &Luma { width, height, data: data.clone() });
                prop_assert!((0.0..=1.0).contains(&verdict.area));
                for b in verdict.regions {
                    prop_assert!(b.x >= 0.0 && b.y >= 0.0 && b.x + b.w <= 1.001 && b.y + b.h <= 1.001 && b.area() > 0.0);
                }
            }
        }
    }
}
