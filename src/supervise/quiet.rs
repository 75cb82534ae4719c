//! Work of libraries that give up by panicking: the caller gets an error, and the log no message of a panic.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

use super::panic_text;

thread_local! {
    static IS_QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Does `work`. A panic writes nothing, and becomes the error.
///
/// # Errors
/// The message of the panic.
pub fn without_panic_message<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = take_hook();
        set_hook(Box::new(move |panic| {
            if !IS_QUIET.get() {
                usual(panic);
            }
        }));
    });
    let before = IS_QUIET.replace(true);
    let outcome = catch_unwind(AssertUnwindSafe(work));
    IS_QUIET.set(before);
    outcome.map_err(|panic| panic_text(&*panic))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error_and_the_next_one_is_reported_as_ever() {
        assert_eq!(without_panic_message(|| 7), Ok(7));
        assert_eq!(without_panic_message(|| -> u8 { panic!("no disk") }), Err("no disk".to_owned()));
        let is_quiet = without_panic_message(|| without_panic_message(|| IS_QUIET.get()).is_ok() && IS_QUIET.get());
        assert_eq!((is_quiet, IS_QUIET.get()), (Ok(true), false));
    }
}
