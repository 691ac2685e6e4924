//! The emulator over real sockets.

mod admin;
mod client;
mod front_end;
mod keys;
mod metadata;
mod pair;
mod tokens;
