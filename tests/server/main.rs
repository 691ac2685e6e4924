//! The server over real sockets.

mod drain;
mod health;
mod limits;
mod logs;
mod protocols;
mod support;
