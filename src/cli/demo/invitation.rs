//! What to try by hand while the demo stays up.

use std::io::Write;

use countersign::emulator::TokenSpec;

use super::report::Report;
use super::scenario::Place;
use super::stage::{CALLER, Stage, WEBSITE_ACCOUNT};

/// Where everything is, a token that works, and lines for a shell.
pub fn write<W: Write>(stage: &Stage, report: &mut Report<W>) {
    let at = |place| stage.front_ends.at(place).url();
    let caller = stage.front_ends.caller.url();
    let emulator = stage.emulator.url();
    let token = stage.emulator.mint(&TokenSpec::for_audience(CALLER).account(WEBSITE_ACCOUNT));
    let mint = format!("countersign token mint --emulator {emulator}");

    report.line("");
    report.title("IT STAYS UP until Ctrl-C. From another terminal:");
    let post = "curl -i -H \"Authorization: Bearer $TOKEN\" -d";
    for line in [
        String::new(),
        "  # a token for the caller, good for an hour:".to_owned(),
        format!("  TOKEN={token}"),
        format!("  {post} '{{\"foo\":\"hello\"}}' {caller}"),
        String::new(),
        "  # a fresh one, or one that is bad (--bad list tells the names):".to_owned(),
        format!("  TOKEN=$({mint} --audience {CALLER} \\"),
        format!("    --account {WEBSITE_ACCOUNT})"),
        format!("  TOKEN=$({mint} --audience {CALLER} \\"),
        format!("    --account {WEBSITE_ACCOUNT} --bad expired)"),
        String::new(),
        "  # a stranger, without any token, at the caller that is open to everybody: your hole"
            .to_owned(),
        format!("  curl -i -d '{{\"foo\":\"hello\"}}' {}", at(Place::OpenCaller)),
        String::new(),
        "  # the called function, without a token: first behind IAM, then without".to_owned(),
        format!("  curl -i -d '{{\"bar\":\"hello\"}}' {}", at(Place::Called)),
        format!("  curl -i -d '{{\"bar\":\"hello\"}}' {}", at(Place::CalledWithoutIam)),
        String::new(),
        "  # what Google knows, and what each front end decided".to_owned(),
        format!("  curl {emulator}/admin/state"),
    ] {
        report.line(&line);
    }
}
