use super::super::fixture::{Seen, picture, pipeline};
use super::super::value::Image;
use super::super::{Memory, Plan};
use super::*;
use crate::clock::{Clock, Mono, SystemClock};

const FIND: &str = r#"
    [[steps]]
    id = "find"
    type = "detect@1"
    inputs.image = "$inputs.image"
    parameters.model = "seer"

    [[steps]]
    id = "cut"
    type = "crop_objects@1"
    inputs = { image = "$inputs.image", objects = "$steps.find.objects" }

    [[steps]]
    id = "look"
    type = "detect@1"
    inputs.image = "$steps.cut.images"
    parameters.model = "seer"

    [[steps]]
    id = "all"
    type = "count@1"
    inputs.objects = "$steps.look.objects"

    [outputs]
    found = "$steps.look.objects"
    number = "$steps.all.number"
    same = "$inputs.image"
"#;

fn run(models: &Seen, is_over: &(dyn Fn() -> Option<BrokenOff> + Send + Sync)) -> Result<Outcome, RunError> {
    let plan = Plan::new(&pipeline(FIND), &BTreeMap::new(), models).expect("a plan");
    let (memory, moment) = (Memory::default(), SystemClock::new().now());
    let inputs = BTreeMap::from([("image".to_owned(), Value::Image(Image::whole(picture(40, 20))))]);
    plan.run(inputs, &Context::new(models, &memory, Mono::default(), moment, is_over), |_| {})
}

#[test]
fn steps_behind_a_list_run_once_for_each_item() {
    let things = [("dog", 0.9, [0.0, 0.0, 0.5, 0.5]), ("cat", 0.8, [0.5, 0.5, 0.25, 0.5])];
    let models = Seen::things(&things);
    let outcome = run(&models, &|| None).expect("a result");
    assert_eq!(*models.shown.lock(), [(40, 20), (20, 10), (10, 10)]);
    let runs: Vec<_> = outcome.steps.iter().map(|step| (step.step.as_str(), step.runs)).collect();
    assert_eq!(runs, [("find", 1), ("cut", 1), ("look", 2), ("all", 1)]);
    assert!(matches!(outcome.outputs["number"], Item::One(Value::Number(4.0))), "{:?}", outcome.outputs);
    assert!(matches!(&outcome.outputs["found"], Item::Many(items) if items.len() == 2));
    assert!(matches!(&outcome.outputs["same"], Item::One(Value::Image(_))));
}

#[test]
fn nothing_found_is_a_result() {
    let outcome = run(&Seen::nothing(), &|| None).expect("a result");
    assert!(matches!(&outcome.outputs["found"], Item::Many(items) if items.is_empty()));
    assert!(matches!(outcome.outputs["number"], Item::One(Value::Number(0.0))));
}

#[test]
fn a_step_is_passed_over_where_an_optional_input_is_held_back() {
    let steps = r#"
        [[steps]]
        id = "find"
        type = "detect@1"
        inputs.image = "$inputs.image"
        parameters.model = "seer"

        [[steps]]
        id = "hold"
        type = "condition@1"
        inputs.value = "$steps.find.objects"
        parameters.expression = "value | length > 5"

        [[steps]]
        id = "hide"
        type = "blur@1"
        inputs = { image = "$inputs.image", objects = "$steps.hold.then" }

        [[steps]]
        id = "pick"
        type = "first@1"
        inputs = { a = "$steps.hide.image", b = "$inputs.image" }

        [outputs]
        hidden = "$steps.hide.image"
        picked = "$steps.pick.value"
    "#;
    let models = Seen::nothing();
    let plan = Plan::new(&pipeline(steps), &BTreeMap::new(), &models).expect("a plan");
    let memory = Memory::default();
    let context = Context::new(&models, &memory, Mono::default(), SystemClock::new().now(), &|| None);
    let inputs = BTreeMap::from([("image".to_owned(), Value::Image(Image::whole(picture(40, 20))))]);
    let outcome = plan.run(inputs, &context, |_| {}).expect("a result");
    // What was to be hidden is not known, so no picture passes.
    assert!(matches!(outcome.outputs["hidden"], Item::Absent), "{:?}", outcome.outputs["hidden"]);
    assert!(matches!(outcome.outputs["picked"], Item::One(Value::Image(_))));
}

#[test]
fn one_that_is_cancelled_ends_between_its_steps() {
    let asked = std::sync::atomic::AtomicU32::new(0);
    let is_over = || {
        let before = asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        (before >= 3).then_some(BrokenOff::Cancelled)
    };
    let models = Seen::nothing();
    assert_eq!(run(&models, &is_over).expect_err("cancelled"), RunError::BrokenOff(BrokenOff::Cancelled));
    assert_eq!(models.shown.lock().len(), 1);
}
