use super::super::fixture::{Seen, pipeline};
use super::*;

fn errors(steps: &str) -> Vec<StepError> {
    check(&pipeline(steps), &BTreeMap::new(), &Seen::nothing()).expect_err("it is wrong")
}

fn only(steps: &str) -> StepError {
    let errors = errors(steps);
    let [only] = errors.as_slice() else { panic!("{errors:?}") };
    only.clone()
}

const FIND: &str = r#"
    [[steps]]
    id = "find"
    type = "detect@1"
    inputs.image = "$inputs.image"
    parameters.model = "seer"
"#;

#[test]
fn each_mistake_is_named_with_its_step_field_reason_and_cure() {
    let cases = [
        ("[[steps]]\nid = 'a'\ntype = 'detekt@1'", "a", "type", "no block \"detekt@1\"", "detect@1"),
        ("[[steps]]\nid = 'a'\ntype = 'detect'", "a", "type", "no block \"detect\"", "write detect@1"),
        ("[[steps]]\nid = 'a'\ntype = 'detect@7'", "a", "type", "no block", "write detect@1"),
        (
            "[[steps]]\nid = 'a b'\ntype = 'count@1'\ninputs.objects = '$steps.find.objects'",
            "a b",
            "id",
            "no name",
            "letters",
        ),
        (
            "[[steps]]\nid = 'find'\ntype = 'count@1'\ninputs.objects = '$steps.find.objects'",
            "find",
            "id",
            "another step",
            "its own",
        ),
        ("[[steps]]\nid = 'a'\ntype = 'count@1'", "a", "inputs.objects", "not connected", "connect it"),
        (
            "[[steps]]\nid = 'a'\ntype = 'count@1'\ninputs.objects = 'find'",
            "a",
            "inputs.objects",
            "no reference",
            "$steps.STEP",
        ),
        (
            "[[steps]]\nid = 'a'\ntype = 'count@1'\ninputs.objects = '$steps.fnd.objects'",
            "a",
            "inputs.objects",
            "no step fnd",
            "find",
        ),
        (
            "[[steps]]\nid = 'a'\ntype = 'count@1'\ninputs.objects = '$steps.find.things'",
            "a",
            "inputs.objects",
            "gives no things",
            "objects",
        ),
        (
            "[[steps]]\nid = 'a'\ntype = 'count@1'\ninputs.objects = '$inputs.image'",
            "a",
            "inputs.objects",
            "it is image",
            "connect objects",
        ),
        (
            "[[steps]]\nid = 'a'\ntype = 'count@1'\ninputs.objects = '$inputs.photo'",
            "a",
            "inputs.objects",
            "no input photo",
            "image",
        ),
        (
            "[[steps]]\nid = 'a'\ntype = 'count@1'\ninputs = { objects = '$steps.find.objects', image = '$inputs.image' }",
            "a",
            "inputs.image",
            "no such input",
            "it has objects",
        ),
        (
            "[[steps]]\nid = 'a'\ntype = 'detect@1'\ninputs.image = '$inputs.image'\n\
             parameters = { model = 'seer', min_score = '$parameters.least' }",
            "a",
            "parameters.min_score",
            "no parameter least",
            "declare it",
        ),
    ];
    for (steps, step, field, reason, cure) in cases {
        let error = only(&format!("{FIND}{steps}"));
        assert_eq!((error.step.as_deref(), error.field.as_str()), (Some(step), field), "{error}");
        assert!(error.reason.contains(reason) && error.cure.contains(cure), "{steps}: {error}");
    }
}

#[test]
fn what_feeds_a_step_must_fit_together() {
    let crops = "[[steps]]\nid = 'cut'\ntype = 'crop_objects@1'\n\
                 inputs = { image = '$inputs.image', objects = '$steps.find.objects' }\n\
                 [[steps]]\nid = 'in'\ntype = 'detect@1'\ninputs.image = '$steps.cut.images'\nparameters.model = 'seer'\n";
    let cases = [
        (
            "type = 'first@1'\ninputs = { a = '$inputs.image', b = '$steps.find.objects' }",
            "inputs.b",
            "it is objects, and a is image",
            "connect image",
        ),
        (
            "type = 'first@1'\ninputs = { b = '$inputs.image' }",
            "inputs.a",
            "it is not connected",
            "the output value is",
        ),
        ("type = 'track@1'\ninputs.objects = '$steps.in.objects'", "inputs.objects", "item of a list", "merge"),
        (
            "type = 'expression@1'\ninputs.a = '$steps.find.objects'\nparameters.expression = 'a | length + b'",
            "parameters.expression",
            "the input b is not connected",
            "connect inputs.b",
        ),
        (
            "type = 'library@1'\ninputs.image = '$inputs.image'\nparameters.tags = ['x', '{{ dogs }}']",
            "parameters.tags",
            "uses dogs, which is no input of library",
            "use image, a, b, c",
        ),
    ];
    for (step, field, reason, cure) in cases {
        // What follows on the step is not said to be wrong.
        let behind = "[[steps]]\nid = 'z'\ntype = 'keep@1'\ninputs.value = '$steps.a.value'";
        let behind = if step.contains("first") { behind } else { "" };
        let error = only(&format!("{FIND}{crops}[[steps]]\nid = 'a'\n{step}\n{behind}"));
        assert_eq!((error.step.as_deref(), error.field.as_str()), (Some("a"), field), "{error}");
        assert!(error.reason.contains(reason) && error.cure.contains(cure), "{error}");
    }
}

#[test]
fn a_circle_is_named_and_what_comes_behind_it_is_not() {
    let steps = "[[steps]]\nid = 'a'\ntype = 'resize@1'\ninputs.image = '$steps.b.image'\n\
                 [[steps]]\nid = 'b'\ntype = 'resize@1'\ninputs.image = '$steps.a.image'\n\
                 [[steps]]\nid = 'c'\ntype = 'resize@1'\ninputs.image = '$steps.b.image'\n";
    let named: Vec<_> = errors(steps).into_iter().map(|error| (error.step.unwrap_or_default(), error.reason)).collect();
    let reason = "it waits for itself, through others or directly".to_owned();
    assert_eq!(named, [("a".to_owned(), reason.clone()), ("b".to_owned(), reason)]);
}

#[test]
fn two_lists_are_not_mixed_and_a_part_of_one_list_may_go_with_the_whole() {
    let crops = "[[steps]]\nid = 'one'\ntype = 'crop_objects@1'\n\
                 inputs = { image = '$inputs.image', objects = '$steps.find.objects' }\n\
                 [[steps]]\nid = 'two'\ntype = 'crop_objects@1'\n\
                 inputs = { image = '$inputs.image', objects = '$steps.find.objects' }\n";
    let again =
        "[[steps]]\nid = 'in'\ntype = 'detect@1'\ninputs.image = '$steps.one.images'\nparameters.model = 'seer'\n";
    let mixed = "[[steps]]\nid = 'draw'\ntype = 'draw@1'\ninputs = { image = '$steps.two.images', objects = '$steps.in.objects' }\n";
    let error = only(&format!("{FIND}{crops}{again}{mixed}"));
    assert_eq!(error.step.as_deref(), Some("draw"));
    assert!(error.reason.contains("another list"), "{error}");
    // The whole picture goes with each item of a list.
    let whole = "[[steps]]\nid = 'draw'\ntype = 'draw@1'\ninputs = { image = '$inputs.image', objects = '$steps.in.objects' }\n";
    let plan = check(&pipeline(&format!("{FIND}{crops}{again}{whole}")), &BTreeMap::new(), &Seen::nothing());
    assert_eq!(plan.expect("a plan").steps.last().map(|step| step.levels), Some(1));
}

#[test]
fn what_an_execution_sets_is_checked_as_what_the_pipeline_says() {
    let text = format!("{FIND}parameters.min_score = '$parameters.least'\n[parameters.least]\ndefault = 0.5\n");
    let pipeline = pipeline(&text);
    let checked = |json: &str| check(&pipeline, &serde_json::from_str(json).expect("JSON"), &Seen::nothing());
    assert!(checked("{}").is_ok() && checked(r#"{"least": 0.9}"#).is_ok());
    let wrong = checked(r#"{"least": 2}"#).expect_err("too much");
    assert_eq!(wrong[0].field, "parameters.min_score");
    let unknown = checked(r#"{"most": 2}"#).expect_err("unknown");
    assert!(unknown[0].cure.contains("least"), "{unknown:?}");
}

#[test]
fn the_pipeline_itself_is_checked() {
    let wrong = |change: fn(&mut Pipeline)| {
        let mut pipeline = pipeline(FIND);
        change(&mut pipeline);
        let errors = check(&pipeline, &BTreeMap::new(), &Seen::nothing()).expect_err("it is wrong");
        errors.into_iter().map(|error| error.field).collect::<Vec<_>>()
    };
    assert_eq!(wrong(|pipeline| pipeline.format = 9), ["format"]);
    assert_eq!(wrong(|pipeline| pipeline.name = "../x".to_owned()), ["name"]);
    assert_eq!(wrong(|pipeline| pipeline.steps.clear()), ["steps"]);
    assert_eq!(
        wrong(|pipeline| drop(pipeline.outputs.insert("found".to_owned(), "$steps.find.thing".to_owned()))),
        ["outputs.found"]
    );
    assert_eq!(
        wrong(|pipeline| pipeline.inputs.values_mut().for_each(|input| input.kind = Kind::Text)),
        ["inputs.image", "steps"][..1].to_vec().into_iter().chain(["inputs.image"]).collect::<Vec<_>>()
    );
}
