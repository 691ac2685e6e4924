//! The pair: the only files that a user of this template has to edit.

pub mod called;
pub mod caller;
