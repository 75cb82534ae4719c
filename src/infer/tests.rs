use parking_lot::Mutex;

use super::*;
use crate::frame::Rgb;

/// Gives what was set, and remembers nothing.
struct Canned(Vec<OutputInfo>, Mutex<Vec<Output>>);

impl Engine for Canned {
    fn run(&self, _input: &[f32]) -> Result<Vec<Output>, InferError> {
        Ok(self.1.lock().clone())
    }

    fn describe(&self) -> Description {
        Description { engine: "canned", input: vec![1, 3, 20, 20], outputs: self.0.clone() }
    }
}

/// Works with: models | Pixels scaled in another way than in training (0 to 255 for 0 to 1) | Refused where the model then sees things everywhere; a warning where it does not see the person in a test photograph
#[test]
fn a_model_that_sees_things_everywhere_is_refused() {
    // 25 boxes of 4x4 pixels side by side are plausible, 50 in two classes are not.
    let rows = |classes: usize| -> Vec<[f32; 6]> {
        let place = |i: usize| [(i % 5) as f32 * 4.0 + 2.0, (i / 5) as f32 * 4.0 + 2.0, 4.0, 4.0];
        let row = |i: usize| {
            let [x, y, w, h] = place(i % 25);
            if i < 25 { [x, y, w, h, 0.9, 0.1] } else { [x, y, w, h, 0.1, 0.9] }
        };
        (0..25 * classes).map(row).collect()
    };
    assert_eq!(canned(&rows(1), &rows(1)).look_at_sample(), Ok(()));
    let doubt = canned(&rows(2), &rows(2)).look_at_sample().expect_err("50 things");
    assert!(doubt.starts_with("it believes to see 50 things") && doubt.contains("scale, mean"), "{doubt}");
    let [row] = [[10.0, 10.0, 10.0, 5.0, 0.1, 0.9]];
    let doubt = canned(&[row], &[row, row]).look_at_sample().expect_err("another shape than before");
    assert!(doubt.ends_with("how much it gives depends on the picture"), "{doubt}");
}

#[test]
fn the_shipped_model_sees_the_person_in_the_photograph() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
    let detector = Detector::load(&dir, &CameraConfig::default().model).expect("load");
    let input = detector.prepare(&photograph().expect("a picture")).expect("prepare");
    let outputs = detector.engine.run(input.data()).expect("run");
    assert!(detector.sees_the_person(&outputs, input.fit()));
    // The same numbers as if they had been taken for those of a picture without bars.
    let elsewhere = Fit { left: 200.0, ..input.fit() };
    assert!(!detector.sees_the_person(&outputs, elsewhere));
}

/// A detector for 20x20 pixels and the labels cat and dog, whose model gives these rows.
fn canned(rows: &[[f32; 6]], given: &[[f32; 6]]) -> Detector {
    let manifest = "name = 'canned'\nfile = 'f'\nsha256 = ''\nlicence = ''\norigin = ''\n\
                    [input]\nwidth = 20\nheight = 20\n[head]\nkind = 'yolov8'";
    let shape = |rows: &[[f32; 6]]| vec![1, rows.len(), 6];
    let info = vec![OutputInfo { name: "out".into(), shape: shape(rows) }];
    let output = Output { shape: shape(given), data: given.concat() };
    let engine = Canned(info, Mutex::new(vec![output]));
    let labels = vec!["cat".into(), "dog".into()];
    Detector::with_engine(&toml::from_str(manifest).expect("manifest"), labels, Box::new(engine)).expect("fits")
}

fn picture(width: u32, height: u32) -> Rgb {
    Rgb { width, height, data: vec![0; (3 * width * height) as usize] }
}

#[test]
fn boxes_come_back_in_picture_coordinates_without_bars_and_overlaps() {
    // A picture of 40x20 lies in lines 5 to 14 of the input.
    let rows = [
        [10.0, 10.0, 10.0, 5.0, 0.1, 0.9],
        [10.0, 10.0, 10.0, 4.9, 0.1, 0.8],
        [10.0, 10.0, 10.0, 5.0, 0.7, 0.1],
        [5.0, 5.0, 10.0, 10.0, 0.6, 0.0],
        [10.0, 2.0, 4.0, 4.0, 0.95, 0.0],
        [10.0, 10.0, 4.0, 4.0, 0.39, 0.0],
        [0.0; 6],
    ];
    let found = canned(&rows, &rows).detect(&picture(40, 20), 0.4).expect("detect");
    let expected = [
        ("dog", 0.9, [0.25, 0.25, 0.5, 0.5]),
        ("cat", 0.7, [0.25, 0.25, 0.5, 0.5]),
        // Reached above the picture: cut.
        ("cat", 0.6, [0.0, 0.0, 0.5, 0.5]),
    ];
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for (detection, (label, score, bbox)) in found.iter().zip(expected) {
        assert_eq!((&*detection.label, detection.score), (label, score));
        assert!(detection.bbox.iou(&BBox::from(bbox)) > 0.999, "{detection:?}");
    }
}

#[test]
fn an_output_of_another_shape_than_at_load_time_is_an_error() {
    let row = [10.0, 10.0, 10.0, 5.0, 0.1, 0.9];
    let failure = canned(&[row], &[row, row]).detect(&picture(20, 20), 0.4).expect_err("another shape");
    assert_eq!(failure.to_string(), "the model gave [1, 2, 6], not [1, 1, 6] as when it was loaded");
}

#[test]
fn a_misspelt_label_is_answered_with_the_nearest() {
    let detector = canned(&[[0.0; 6]], &[[0.0; 6]]);
    let wanting = |label: &str| CameraConfig { labels: vec![label.to_owned()], ..CameraConfig::default() };
    assert_eq!(wanting("dog").check_labels(&detector), Ok(()));
    let message = wanting("dogs").check_labels(&detector).expect_err("unknown");
    assert_eq!(message, "model canned knows no label \"dogs\"; did you mean \"dog\"?");
    assert!(wanting("dog").wants("dog") && !wanting("dog").wants("cat") && CameraConfig::default().wants("cat"));
}

#[test]
fn config_defaults_are_valid_and_survive_toml() {
    let config: Config = toml::from_str("").expect("defaults");
    assert_eq!(toml::from_str::<Config>(&toml::to_string(&config).expect("write")).expect("read"), config);
    assert_eq!(config.check(), Ok(()));
    let camera: CameraConfig = toml::from_str("").expect("defaults");
    assert_eq!(toml::from_str::<CameraConfig>(&toml::to_string(&camera).expect("write")).expect("read"), camera);
    assert_eq!(camera.check(), Ok(()));
}

#[test]
fn numbers_out_of_range_are_refused_by_name() {
    for (toml, key) in [
        ("hung_after = '10ms'", "hung_after"),
        ("workers = 10000", "workers"),
        ("max_picture_time = '0s'", "max_picture_time"),
    ] {
        let message = toml::from_str::<Config>(toml).expect("parse").check().expect_err(toml);
        assert!(message.starts_with(key), "{message}");
    }
    for (toml, key) in [("min_score = 40.0", "min_score"), ("fps = 0.0", "fps"), ("fps = nan", "fps")] {
        let message = toml::from_str::<CameraConfig>(toml).expect("parse").check().expect_err(toml);
        assert!(message.starts_with(key), "{message}");
    }
}
