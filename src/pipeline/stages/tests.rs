use super::*;
use crate::config;

const ALL: [StageKind; 6] =
    [StageKind::Decode, StageKind::Pace, StageKind::Gate, StageKind::Infer, StageKind::Track, StageKind::Rules];

fn plan(toml: &str) -> StagePlan {
    let camera: config::Camera = toml::from_str(toml).expect("a camera");
    StagePlan::from_config(&camera)
}

#[test]
fn a_camera_has_the_stages_that_its_configuration_asks_for() {
    let (detect_off, motion_off) = ("[detect]\nenabled = false\n", "[motion]\nenabled = false\n");
    for (toml, expected) in [
        ("", &ALL[..]),
        (motion_off, &[ALL[0], ALL[1], ALL[3], ALL[4], ALL[5]]),
        (detect_off, &ALL[..3]),
        (&format!("{detect_off}{motion_off}"), &ALL[..1]),
    ] {
        let plan = plan(toml);
        let kinds = |stages: &[Planned]| stages.iter().map(|planned| planned.kind).collect::<Vec<_>>();
        assert_eq!(kinds(plan.stages()), expected, "{toml}");
        let mut all = [kinds(plan.stages()), kinds(plan.left_out())].concat();
        all.sort();
        assert_eq!(all, ALL, "{toml}: each stage is there, or is left out for a reason");
        assert!(plan.stages().iter().chain(plan.left_out()).all(|planned| !planned.why.is_empty()));
        assert_eq!(plan.sample().is_some(), plan.has(StageKind::Pace), "{toml}");
        assert_eq!(plan.follow().expect("rules that fit").is_some(), plan.has(StageKind::Rules), "{toml}");
    }
}

#[test]
fn each_stage_takes_what_the_one_before_it_gives() {
    for (detects, moves) in [(true, true), (true, false), (false, true), (false, false)] {
        let plan = plan(&format!("[detect]\nenabled = {detects}\n[motion]\nenabled = {moves}\n"));
        let mut given = Data::Packet;
        for Planned { kind, .. } in plan.stages() {
            assert_eq!(kind.takes(), given, "{plan}");
            given = kind.gives();
        }
        assert_eq!(given, if detects { Data::Signals } else { Data::Picture });
    }
}

#[test]
fn a_plan_says_why() {
    assert_eq!(
        plan("[detect]\nmodel = 'm'\nlight_model = 'l'\nlabels = ['person', 'dog']").to_string(),
        "decode (decoder auto, for detection) -> pace (at most 5 pictures a second) -> gate (only what moves is inferred) \
         -> infer (model m, l under load) -> track (person, dog) -> rules (every object is an event)"
    );
    assert_eq!(
        plan("[detect]\nenabled = false\n[motion]\nenabled = false").to_string(),
        "decode (decoder auto, for the live picture alone); without pace (neither detection nor motion is wanted), gate \
         (motion.enabled = false), infer (detect.enabled = false), track (detect.enabled = false), rules (detect.enabled = false)"
    );
}

#[test]
fn zones_that_do_not_fit_the_rules_are_an_error_only_where_rules_are_applied() {
    let rule = "[[rules]]\nname = 'r'\nwhen = 'enter'\nzones = ['nowhere']\n";
    let detecting = plan(rule).follow().map(|_| ());
    assert!(detecting.is_err_and(|error| error.contains("nowhere")));
    assert!(plan(&format!("{rule}[detect]\nenabled = false")).follow().expect("no rules").is_none());
}
