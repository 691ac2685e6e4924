//! Attacks on the called side, over real sockets, against the layer and the server that services run.
//!
//! - `corpus`: every bad token that the emulator knows by name;
//! - `advisories`: published faults of other products, by their number;
//! - `attacks`: what can be done with a bearer token, numbered 1 to 24;
//! - `reflection`: what an attacker gets to see of what it sent, in answers and in logs;
//! - `mutations`: random changes of good tokens, and a second opinion on what is accepted.
//!
//! # What cannot apply here, and why
//!
//! - CVE-2022-21449 and the other faults of ECDSA (r = s = 0): no ECDSA is verified. A token that asks for it is
//!   refused by its `alg` (`attack_09`).
//! - CVE-2022-36083, CVE-2024-28180 (PBES2 counts, DEFLATE bombs): nothing is decrypted or inflated. What asks for it
//!   is refused by its shape or header (`advisories::cve_2022_36083_…`).
//! - CVE-2023-49092 (Marvin, the `rsa` crate): no private key is used on the called side, and the crate is not in the
//!   tree (`advisories::cve_2023_49092_…` reads Cargo.lock).
//! - CVE-2023-44487, RUSTSEC-2024-0332, RUSTSEC-2026-0258 (HTTP/2 floods): the mending is in `h2`
//!   (`advisories::…_h2_…` reads Cargo.lock); the limits on streams and headers are tested in `tests/server`.
//! - Attack 10's forgeries of PKCS#1 v1.5 padding and attack 11's weak keys need crafted vectors: `tests/vectors.rs`
//!   runs Wycheproof's, `attack_10` and `attack_11` what can be made here.
#![allow(clippy::unwrap_used, reason = "tests")]

mod advisories;
mod attacks;
mod corpus;
mod mutations;
mod reflection;
#[path = "../support/mod.rs"]
mod support;
