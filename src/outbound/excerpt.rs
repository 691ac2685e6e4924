//! What error messages show of an answer: its beginning, without anything that may be a secret.

/// How secrets begin: `{"` in base64, and so every JWT; Google's access tokens, refresh tokens (as they are, and in a
/// form) and client secrets; and what was sent, where a server in between repeats it in its error, as a form or as JSON.
const SECRETS: [&str; 11] = [
    "eyJ",
    "ya29.",
    "1//",
    "1%2F%2F",
    "GOCSPX-",
    "client_secret=",
    "client_secret\":",
    "refresh_token=",
    "refresh_token\":",
    "subject_token=",
    "subject_token\":",
];

/// The beginning of an answer for an error message: one short line, which ends where a word could be a
/// token or hold one.
pub(super) fn excerpt(body: &[u8]) -> String {
    const MAX_BYTES: usize = 160;
    let cut = body.len() > MAX_BYTES;
    let text = String::from_utf8_lossy(&body[..body.len().min(MAX_BYTES)]);
    // What follows a secret is left out too: it may be the rest of a token that was wrapped.
    let secret = |word: &&str| SECRETS.iter().any(|mark| word.contains(mark));
    let words: Vec<&str> = text
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
        .collect();
    let shown = words.iter().position(secret).unwrap_or(words.len());
    let mut line = words[..shown].join(" ");
    if shown < words.len() {
        return (line + " [redacted]").trim_start().to_owned();
    }
    if cut {
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_is_short_and_shows_no_token() {
        assert_eq!(excerpt(b" not \r\n found\0 "), "not found");
        assert_eq!(excerpt(br#"{"id_token":"eyJhbGciOi.J9.x"} no"#), "[redacted]");
        assert_eq!(excerpt(b"see eyJhbGciOi\nJ9.x"), "see [redacted]");
        assert_eq!(excerpt(b"Bearer ya29.secret"), "Bearer [redacted]");
        for echo in [
            "client_secret=s&refresh_token=r",
            "refresh_token=r",
            "{\"client_secret\": \"s\"}",
            "{\"refresh_token\":\"r\"}",
            "subject_token=opaque",
            "GOCSPX-s",
            "1//0r",
            "x=1%2F%2F0r",
        ] {
            assert_eq!(excerpt(format!("bad: {echo}").as_bytes()), "bad: [redacted]", "{echo}");
        }
        let said = "invalid_request: Missing required parameter: refresh_token";
        assert_eq!(excerpt(said.as_bytes()), said);
        assert_eq!(excerpt(&[b'x'; 161]), format!("{}…", "x".repeat(160)));
        assert_eq!(excerpt(b"\xff\xfe"), "\u{fffd}\u{fffd}");
    }

    proptest::proptest! {
        #[test]
        fn an_excerpt_never_shows_what_begins_like_a_token(
            before in "[ -~\n]{0,200}", gap in "[ \n\"=:]{0,3}", rest in "[A-Za-z0-9_.\n-]{0,200}"
        ) {
            let shown = excerpt(format!("{before}{gap}eyJ{rest}").as_bytes());
            proptest::prop_assert!(!shown.contains("eyJ"), "{}", shown);
            proptest::prop_assert!(shown.len() <= 180 && !shown.contains('\n'));
        }
    }
}
