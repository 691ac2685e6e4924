//! The emulator over real sockets.

mod admin;
mod client;
mod front_end;
mod iam_credentials;
mod keys;
mod metadata;
mod pair;
mod sts;
mod token_endpoint;
mod tokens;
