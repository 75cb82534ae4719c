//! Two pictures beside each other.

use super::super::pixels::{check_size, paste, plain, resize};
use super::super::spec::{Group, IMAGE, Param, ParamKind, Port, Preset, Result as Gives, Spec};
use super::super::{Block, BlockError, Context, Image, Input, Output, Value};
use crate::execution::Kind;

pub(in super::super) struct Compose;

const SPEC: Spec = Spec {
    name: "compose",
    version: 1,
    group: Group::Picture,
    about: "Puts two pictures side by side, or one above the other; the second one is scaled to the first.",
    inputs: &[
        Port::new("a", IMAGE, "The left or upper picture."),
        Port::new("b", IMAGE, "The right or lower picture."),
    ],
    parameters: &[Param::new(
        "direction",
        ParamKind::Choice(&["across", "down"]),
        "Whether they lie side by side (across), or one above the other (down).",
    )
    .or(Preset::Text("across"))],
    outputs: &[Gives::new("image", Kind::Image, "Both in one picture.")],
};

impl Block for Compose {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn run(&self, input: &Input<'_>, _: &Context<'_>) -> Result<Output, BlockError> {
        let (a, b) = (&input.image("a")?.picture, &input.image("b")?.picture);
        let is_across = input.settings.text("direction") == "across";
        let factor = if is_across {
            f64::from(a.height) / f64::from(b.height.max(1))
        } else {
            f64::from(a.width) / f64::from(b.width.max(1))
        };
        let scaled = |length: u32| ((f64::from(length) * factor).round() as u32).max(1);
        let second = if is_across { (scaled(b.width), a.height) } else { (a.width, scaled(b.height)) };
        let (width, height, left, top) = if is_across {
            (a.width.saturating_add(second.0), a.height, a.width, 0)
        } else {
            (a.width, a.height.saturating_add(second.1), 0, a.height)
        };
        check_size(width, height)?;
        let mut both = plain(width, height, [0; 3])?;
        paste(&mut both, a, 0, 0);
        paste(&mut both, &resize(b, second.0, second.1)?, left, top);
        Ok(Output::of("image", Value::Image(Image::whole(both))))
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::fixture::{Seen, image, one_image, run};
    use super::*;

    #[test]
    fn the_second_picture_is_scaled_to_the_first() {
        let size = |a: Value, b: Value, parameters: &str| {
            let output = run("compose@1", &[("a", a), ("b", b)], parameters, &Seen::nothing());
            let picture = output.map_err(|error| error.message).map(|output| one_image(&output, "image").picture);
            picture.map(|picture| (picture.width, picture.height, picture.data.iter().all(|value| *value == 0)))
        };
        assert_eq!(size(image(20, 10), image(40, 40), "{}"), Ok((30, 10, false)));
        assert_eq!(size(image(20, 10), image(40, 40), r#"{"direction": "down"}"#), Ok((20, 30, false)));
        assert!(size(image(20, 100), image(40_000, 1), "{}").expect_err("too large").contains("the most"));
    }
}
