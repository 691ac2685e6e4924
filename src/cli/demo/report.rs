//! The demo's lines: aligned, at most 100 columns, and in colours where those are wanted.

use std::io::Write;

use super::good_call::Step;
use super::scenario::{Function, Iam, Outcome, Scenario};
use super::scenarios::LESSONS;
use super::trial::TrialError;

/// How wide the columns are.
pub const NAME: usize = 35;
const IAM: usize = 19;
const FUNCTION: usize = 25;

/// Writes the lines and keeps the score.
#[derive(Debug)]
pub struct Report<W> {
    out: W,
    colours: bool,
    as_expected: usize,
    played: usize,
}

/// What a text is, for whoever sees colours.
#[derive(Clone, Copy, Debug)]
enum Ink {
    Plain,
    Title,
    Right,
    Wrong,
    Danger,
    Quiet,
}

impl Ink {
    /// The parameters of SGR (ECMA-48 8.3.117).
    const fn code(self) -> &'static str {
        match self {
            Self::Plain => "0",
            Self::Title => "1",
            Self::Right => "32",
            Self::Wrong => "1;31",
            Self::Danger => "33",
            Self::Quiet => "2",
        }
    }
}

impl<W: Write> Report<W> {
    pub const fn new(out: W, colours: bool) -> Self {
        Self { out, colours, as_expected: 0, played: 0 }
    }

    /// Whether everything that was played went as it should.
    pub const fn all_as_expected(&self) -> bool {
        self.as_expected == self.played
    }

    pub fn opening(&mut self, emulator: &str) {
        let title = self.ink(Ink::Title, "countersign demo");
        self.line(&format!(
            "{title}   Google emulated on {emulator}: no account, no network, fresh keys"
        ));
        self.line("");
        self.line("   you --> [ Cloud Run's IAM ] caller [its list] --> [ Cloud Run's IAM ] called [its list]");
        self.line("");
    }

    pub fn good_call(&mut self, steps: &[Step]) {
        self.title("THE GOOD CALL");
        for Step { who, what, as_expected } in steps {
            let mark = self.mark(*as_expected);
            self.line(&format!(" {mark}  {who:<16} {what}"));
        }
        self.score(steps.iter().all(|step| step.as_expected));
        self.line("");
    }

    pub fn columns(&mut self) {
        let columns =
            format!("     {:NAME$} {:IAM$} {}", "", "CLOUD RUN'S DOOR", "THE FUNCTION'S DOOR");
        self.title(&columns);
    }

    pub fn title(&mut self, title: &str) {
        let title = self.ink(Ink::Title, title);
        self.line(&title);
    }

    pub fn row(&mut self, scenario: &Scenario, observed: Result<&Outcome, &TrialError>) {
        let Scenario { name, expected, remark, .. } = scenario;
        let as_expected = observed.is_ok_and(|observed| expected.covers(observed));
        let (iam, function) = match observed {
            Ok(observed) => (self.iam(&observed.iam), self.function(observed, expected)),
            Err(error) => (self.ink(Ink::Wrong, &error.to_string()), String::new()),
        };
        let mark = self.mark(as_expected);
        let remark = remark.map(|remark| self.ink(Ink::Danger, &format!("<- {remark}")));
        let row = format!(" {mark}  {name:<NAME$} {iam} {function} {}", remark.unwrap_or_default());
        self.line(row.trim_end());
        if !as_expected {
            let expected =
                format!("expected: {} | {}", expected.iam, expected.function_column(expected));
            let expected = self.ink(Ink::Wrong, &expected);
            self.line(&format!("     {expected}"));
        }
        self.score(as_expected);
    }

    pub fn end_of_group(&mut self) {
        self.line("");
    }

    pub fn lessons(&mut self) {
        self.title("WHY THESE MATTER");
        for (remark, lesson) in LESSONS {
            let remark = self.ink(Ink::Danger, &format!("{remark:<10}"));
            self.line(&format!("  {remark}  {lesson}"));
        }
        self.line("");
    }

    pub fn closing(&mut self, seconds: f64) {
        let text = format!("{} of {} as expected, {seconds:.1} s", self.as_expected, self.played);
        let ink = if self.all_as_expected() { Ink::Right } else { Ink::Wrong };
        let text = self.ink(ink, &text);
        self.line(&text);
    }

    pub fn line(&mut self, text: &str) {
        // A closed pipe is not worth a panic, and the score is kept in any case.
        let _ = writeln!(self.out, "{text}");
    }

    fn iam(&self, iam: &Iam) -> String {
        let ink = match iam {
            Iam::Refuses { .. } => Ink::Right,
            Iam::LetsIn { why } if why == "invoker" => Ink::Plain,
            Iam::LetsIn { .. } => Ink::Danger,
        };
        self.ink(ink, &format!("{:<IAM$}", iam.to_string()))
    }

    fn function(&self, observed: &Outcome, story: &Outcome) -> String {
        let ink = match &observed.function {
            Function::NotReached => Ink::Quiet,
            Function::Answers { status: 200..=299, .. } => Ink::Plain,
            Function::Answers { .. } => Ink::Right,
        };
        self.ink(ink, &format!("{:<FUNCTION$}", observed.function_column(story)))
    }

    fn mark(&self, as_expected: bool) -> String {
        if as_expected { self.ink(Ink::Right, "ok") } else { self.ink(Ink::Wrong, "XX") }
    }

    fn score(&mut self, as_expected: bool) {
        self.played += 1;
        self.as_expected += usize::from(as_expected);
    }

    fn ink(&self, ink: Ink, text: &str) -> String {
        if self.colours && !matches!(ink, Ink::Plain) {
            format!("\x1b[{}m{text}\x1b[0m", ink.code())
        } else {
            text.to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::scenarios::groups;
    use super::*;

    fn rows(colours: bool, observed: impl Fn(&Scenario) -> Outcome) -> (String, bool) {
        let mut bytes = Vec::new();
        let mut report = Report::new(&mut bytes, colours);
        report.columns();
        for scenario in groups().iter().flat_map(|group| &group.scenarios) {
            report.row(scenario, Ok(&observed(scenario)));
        }
        report.lessons();
        report.closing(1.25);
        let all = report.all_as_expected();
        (String::from_utf8(bytes).unwrap(), all)
    }

    #[test]
    fn lines_fit_in_100_columns_and_columns_are_aligned() {
        let (text, all) = rows(false, |scenario| scenario.expected.clone());
        assert!(all);
        for line in text.lines() {
            assert!(line.chars().count() <= 100, "{line}");
            assert!(!line.contains('\x1b') && line.trim_end() == line, "{line:?}");
        }
        let column = text.lines().next().unwrap().find("THE FUNCTION'S DOOR").unwrap();
        for line in text.lines().filter(|line| line.starts_with(" ok")) {
            assert!(
                line[column - 1..].starts_with(' ') && !line[column..].starts_with(' '),
                "{line}"
            );
        }
    }

    #[test]
    fn a_mismatch_is_told_with_what_was_expected_and_counted() {
        let (text, all) = rows(true, |_| Outcome {
            iam: Iam::LetsIn { why: "invoker".into() },
            function: Function::Answers { status: 418, code: None },
            key_fetches: Some(0),
            reached_called_as: None,
        });
        assert!(!all);
        let count = groups().iter().flat_map(|group| &group.scenarios).count();
        assert_eq!(text.matches("expected: ").count(), count);
        assert!(text.contains("\x1b[1;31mXX\x1b[0m") && text.contains("418"), "{text}");
        assert!(text.contains(&format!("0 of {count} as expected, 1.2 s")), "{text}");
    }

    #[test]
    fn what_could_not_be_observed_is_no_success() {
        let mut bytes = Vec::new();
        let mut report = Report::new(&mut bytes, false);
        report.row(&groups()[0].scenarios[0], Err(&TrialError::NoDecision));
        assert!(!report.all_as_expected());
        assert!(String::from_utf8(bytes).unwrap().contains("no record of the request"));
    }
}
