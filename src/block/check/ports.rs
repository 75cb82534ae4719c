//! What may feed the inputs of a step: kinds, and items of lists.

use super::super::settings::Wrong;
use super::super::spec::{Gives, Port, Spec};
use super::From;
use crate::execution::Kind;

/// What feeds an input.
pub(super) struct Fed<'a> {
    pub port: &'static Port,
    pub from: &'a From,
    pub kind: Kind,
    /// The steps of whose lists it is an item, without the list that the input takes as a whole.
    pub lists: Vec<usize>,
}

/// What is wrong with what feeds a step that goes through the lists `longest`; `connected` are its inputs, whether or not
/// what feeds them is known.
pub(super) fn wrong(spec: &Spec, fed: &[Fed<'_>], longest: &[usize], connected: &[(&Port, From)]) -> Vec<Wrong> {
    let mut wrong: Vec<Wrong> = fed.iter().filter_map(|one| of_one(one, fed, longest)).collect();
    for output in spec.outputs {
        let Gives::Same(name) = output.gives else { continue };
        let is_optional = spec.inputs.iter().any(|port| port.name == name && !port.required);
        let field = format!("inputs.{name}");
        let is_known = wrong.iter().any(|known| known.field == field);
        if is_optional && !is_known && !connected.iter().any(|(port, _)| port.name == name) {
            let cure = format!("connect it: the output {} is what it is", output.name);
            wrong.push(Wrong::new(&field, "it is not connected", cure));
        }
    }
    wrong
}

fn of_one(one: &Fed<'_>, fed: &[Fed<'_>], longest: &[usize]) -> Option<Wrong> {
    let Fed { port, kind, lists, .. } = one;
    let (field, is) = (format!("inputs.{}", port.name), kind.as_str());
    if !port.kinds.contains(kind) {
        let needs: Vec<&str> = port.kinds.iter().map(|kind| kind.as_str()).collect();
        return Some(Wrong::new(&field, format!("it is {is}"), format!("connect {}", needs.join(" or "))));
    }
    if port.single && !lists.is_empty() {
        let cure = "end the list first, by merge, stitch or count";
        return Some(Wrong::new(&field, "it is an item of a list", cure));
    }
    if !longest.starts_with(lists) {
        let reason = "it belongs to another list than the other inputs";
        return Some(Wrong::new(&field, reason, "end one of the two lists first, by merge, stitch or count"));
    }
    let like = fed.iter().find(|other| Some(other.port.name) == port.like && other.kind != *kind)?;
    let (other, needs) = (like.port.name, like.kind.as_str());
    Some(Wrong::new(&field, format!("it is {is}, and {other} is {needs}"), format!("connect {needs}")))
}
