//! `countersign demo`: the binary, with everything that it starts, over real sockets.
#![cfg(unix)]

mod binary;

use binary::{Process, client, countersign, output, stderr, stdout, within};
use rustix::process::Signal;
use serde_json::Value;

/// What both doors did in the row whose name begins so, in the group whose title begins so.
fn doors<'t>(text: &'t str, title: &str, name: &str) -> (&'t str, &'t str) {
    let group = text.split("\n\n").find(|group| group.lines().any(|line| line.starts_with(title)));
    let group = group.unwrap_or_else(|| panic!("no group {title:?} in\n{text}"));
    let row = group.lines().find(|line| line.starts_with(&format!(" ok  {name}")));
    let row = row.unwrap_or_else(|| panic!("no good row {name:?} in\n{group}"));
    let (iam, function) = row[41..].split_at(19);
    (iam.trim(), function.split("<-").next().unwrap_or_default().trim())
}

#[tokio::test]
async fn once_shows_every_scenario_as_expected_and_ends() {
    let output = output(&["demo", "--once"]).await;
    let text = stdout(&output);
    assert!(output.status.success(), "{text}{}", stderr(&output));
    assert!(output.stderr.is_empty(), "quiet unless asked: {}", stderr(&output));
    assert!(
        !text.contains("XX") && !text.contains("expected: ") && !text.contains('\x1b'),
        "{text}"
    );
    for line in text.lines() {
        assert!(line.chars().count() <= 100, "{line}");
    }

    let rows = text.split_once("CLOUD RUN'S DOOR").unwrap().1;
    let rows = rows.lines().filter(|line| line.starts_with(" ok  ")).count();
    let score = text.lines().last().unwrap();
    // The good call counts as one.
    assert!(score.starts_with(&format!("{0} of {0} as expected, ", rows + 1)), "{score}\n{text}");
    assert!(text.contains(r#"201 {"id":"1","bar":"hello"} in "#), "{text}");
    for remark in ["<- why a list", "<- worst case", "<- your hole"] {
        assert_eq!(text.matches(remark).count(), 1, "{text}");
    }
}

#[tokio::test]
async fn every_row_that_was_asked_for_is_there() {
    let text = stdout(&output(&["demo", "--once"]).await);
    let (iam, off) = ("WHO ELSE TRIES", "IAM IS OFF");
    let table = [
        (iam, "no token", "403 no token", "not reached"),
        (iam, "garbage", "401 not a token", "not reached"),
        (iam, "an access token", "401 access token", "not reached"),
        (iam, "a token for another service", "401 wrong audience", "not reached"),
        (iam, "a good token, replayed at billing", "401 wrong audience", "not reached"),
        (iam, "a good token, 61 minutes later", "401 expired", "not reached"),
        (iam, "a token that is not valid yet", "401 not yet valid", "not reached"),
        (iam, "an account without the role", "403 no invoker role", "not reached"),
        (iam, "a person's token", "lets in: owner", "401 signature_removed"),
        (iam, "a project EDITOR", "lets in: editor", "403 principal_not_allowed"),
        ("HOW THE TOKEN", "the caller, in both headers", "lets in: invoker", "201"),
        (
            "HOW THE TOKEN",
            "the same, Cloud Run strips it",
            "lets in: invoker",
            "401 signature_removed",
        ),
        ("HOW THE TOKEN", "and SIGNATURE_CHECK=cloud-run", "lets in: invoker", "201"),
        (off, "forged: another key, same kid", "off: lets in", "401 wrong_signature"),
        (off, "forged: alg none", "off: lets in", "401 wrong_algorithm"),
        (off, "forged: HS256", "off: lets in", "401 wrong_algorithm"),
        (off, "forged: claims that look stripped", "off: lets in", "401 signature_removed"),
        ("THROUGH", "a stranger, and the caller is OPEN", "off: lets in", "201 as caller@demo"),
        ("THROUGH", "a stranger, and it has a list", "off: lets in", "403 principal_not_allowed"),
        ("BAD DAYS", "keys rotated between two calls", "lets in: invoker", "201, 1 key fetch"),
        ("BAD DAYS", "key server down, keys in hand", "lets in: invoker", "201, no key fetch"),
        ("BAD DAYS", "a role that was granted just now", "403 no invoker role", "not reached"),
        ("BAD DAYS", "the same, two minutes later", "lets in: invoker", "201"),
    ];
    for (title, name, iam, function) in table {
        assert_eq!(doors(&text, title, name), (iam, function), "{name}");
    }
}

#[tokio::test]
async fn it_stays_up_with_lines_that_work_until_ctrl_c() {
    let mut process = Process::spawn(&["demo"]);
    let score = process.line_with(" as expected, ").await;
    let token = process.line_with("TOKEN=").await;
    let token = token.trim().strip_prefix("TOKEN=").unwrap().to_owned();
    let curl = process.line_with("curl -i -H").await;
    let url = curl.rsplit_once(' ').unwrap().1;
    assert!(curl.contains("-d '{\"foo\":\"hello\"}'"), "{curl}");
    let mint = process.line_with("token mint").await;
    let emulator = mint.split_whitespace().find(|word| word.starts_with("http://127")).unwrap();
    let lent = process.line_with("curl -i -d '{\"foo\"").await;
    process.line_with("/admin/state").await;

    let post = async |url: &str, token: &str| {
        let request = client().post(url).bearer_auth(token).body(r#"{"foo":"hello"}"#);
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let (status, body) = post(url, &token).await;
    assert_eq!(status, 201, "{score}: {body}");
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap()["bar"], "hello");

    let website = "website@demo.iam.gserviceaccount.com";
    let flags = ["--emulator", emulator, "--audience", "https://caller.demo", "--account", website];
    let minted = output(&[&["token", "mint"][..], &flags].concat()).await;
    let fresh = stdout(&minted);
    assert_eq!(post(url, fresh.trim()).await.0, 201, "{minted:?}");
    let expired = output(&[&["token", "mint", "--bad", "expired"][..], &flags].concat()).await;
    assert_eq!(post(url, stdout(&expired).trim()).await.0, 401);

    let open = client().post(lent.rsplit_once(' ').unwrap().1).body(r#"{"foo":"hello"}"#);
    assert_eq!(open.send().await.unwrap().status(), 201);

    process.send(Signal::INT);
    assert_eq!(process.exit_code().await, Some(0));
}

#[tokio::test]
async fn verbose_shows_why_the_functions_refused_and_never_a_token() {
    let output = within("the end", countersign(&["demo", "--once", "-v"]).output()).await.unwrap();
    assert!(output.status.success());
    let log = stderr(&output);
    for code in
        ["principal_not_allowed", "wrong_signature", "signature_removed", "iam_check_missing"]
    {
        assert!(log.contains(&format!("code={code}")), "{log}");
    }
    assert!(!log.contains("eyJ") && !stdout(&output).contains("eyJ"), "{log}");
}
