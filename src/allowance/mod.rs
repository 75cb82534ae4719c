//! What may go over a link that costs: budgets of bytes, and whether it is metered.

mod budget;
mod metered;
#[cfg(test)]
mod tests;

pub use budget::{Budget, Exhausted, Limits, Share};
pub use metered::{Meter, Metered};
