//! `countersign demo`: the pair on this machine, with everything that it needs from Google emulated; the good call step
//! by step, then everybody else who tries, and what each of the two doors did.

mod function;
mod good_call;
mod invitation;
mod report;
mod scenario;
mod scenarios;
mod stage;
mod trial;

use std::io::{IsTerminal as _, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command};
use countersign::clock::{Clock as _, SystemClock};
use countersign::config::Settings;
use countersign::server::termination_signal;
use countersign::telemetry::{self, DENIAL_TARGET, LogFormat, TelemetryError};

use self::report::Report;
use self::stage::Stage;
use self::trial::{Trial, TrialError};
use super::loopback::Loopback;
use super::refuse;

/// How long any one request of the demo may take.
const DEADLINE: Duration = Duration::from_secs(30);

pub fn command() -> Command {
    let flag = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
    };
    Command::new("demo")
        .about("See the pair at work on this machine: who gets in, who does not, and which door stopped them")
        .arg(flag("once", "End when all is shown: 0 if everything went as it should, else 1"))
        .arg(flag("verbose", "Show the functions' log lines about refused requests, on stderr").short('v'))
}

pub async fn run(matches: &ArgMatches) -> ExitCode {
    if matches.get_flag("verbose")
        && let Err(error) = show_denials()
    {
        return refuse(&error, 1);
    }
    let colours = std::io::stdout().is_terminal() && !Settings::from_environment().no_color();
    let mut report = Report::new(std::io::stdout(), colours);
    let started = SystemClock.now();
    let stage = match Stage::set().await {
        Ok(stage) => stage,
        Err(error) => return refuse(&format_args!("the demo cannot start: {error}"), 1),
    };
    if let Err(error) = show(&stage, &mut report).await {
        return refuse(&format_args!("the good call failed: {error}"), 1);
    }
    report.closing(SystemClock.now().age_since(started).as_secs_f64());
    if matches.get_flag("once") {
        stage.strike().await;
        return if report.all_as_expected() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    // In this order: whoever has read the invitation may end it.
    tokio::join!(biased; termination_signal(), async { invitation::write(&stage, &mut report) });
    stage.strike().await;
    ExitCode::SUCCESS
}

async fn show<W: Write>(stage: &Stage, report: &mut Report<W>) -> Result<(), TrialError> {
    report.opening(&stage.emulator.host());
    let http = Loopback::new(DEADLINE);
    let call = good_call::make(stage, &http).await?;
    report.good_call(&call.steps);

    let trial = Trial { stage, http, genuine_token: call.token };
    report.columns();
    for group in scenarios::groups() {
        report.title(group.title);
        for scenario in &group.scenarios {
            report.row(scenario, trial.play(scenario).await.as_ref());
        }
        report.end_of_group();
    }
    report.lessons();
    Ok(())
}

/// On stderr, so that what the demo itself prints stays whole.
fn show_denials() -> Result<(), TelemetryError> {
    let config = telemetry::Config {
        format: LogFormat::Text,
        filter: format!("error,{DENIAL_TARGET}=warn"),
        ..telemetry::Config::default()
    };
    let subscriber = config.subscriber(Arc::new(SystemClock), std::io::stderr())?;
    tracing::subscriber::set_global_default(subscriber)
        .map_err(|_| TelemetryError::AlreadyInstalled)
}
