//! What a running emulator says about itself: text that a shell can read as it is.

use countersign::emulator::Emulator;

/// Settings as `export` lines; everything else is a comment, so that the whole can be pasted or sourced.
pub fn text(emulator: &Emulator, environment: &[(String, String)]) -> String {
    let url = emulator.url();
    let exports: Vec<String> = environment
        .iter()
        .map(|(name, value)| format!("export {name}={}\n", quoted(value)))
        .collect();
    let mut text = format!(
        "# countersign emulator: Google's identity endpoints on {url}, until Ctrl-C.\n\
         # Its keys are new at each start, and what they sign is worth nothing anywhere else.\n\
         #\n\
         # What points a program at it (this text can be pasted into a shell):\n\
         {}",
        exports.concat()
    );
    let lines = [
        "Try:".to_owned(),
        format!("curl {}", emulator.jwks_url()),
        format!(
            "curl -H 'Metadata-Flavor: Google' \
             '{url}/computeMetadata/v1/instance/service-accounts/default/identity?audience=https://called.demo&format=full'"
        ),
        format!(
            "countersign token mint --emulator {url} --audience https://called.demo --bad expired"
        ),
        format!(
            "countersign emulator credentials service-account --port {} > key.json",
            url.rsplit_once(':').map_or("9090", |(_, port)| port)
        ),
        format!("curl -d '{{\"overlap\": true}}' {url}/admin/keys/rotate"),
        format!("curl {url}/admin/state"),
    ];
    text.push_str("#\n");
    for (number, line) in lines.iter().enumerate() {
        text.push_str(if number == 0 { "# " } else { "#   " });
        text.push_str(line);
        text.push('\n');
    }
    text
}

/// As a POSIX shell takes it for one word, whatever is in it.
fn quoted(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-:/@".contains(c);
    if !value.is_empty() && value.chars().all(plain) {
        return value.to_owned();
    }
    format!("'{}'", value.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_one_word_each() {
        assert_eq!(quoted("127.0.0.1:9090"), "127.0.0.1:9090");
        assert_eq!(quoted(""), "''");
        assert_eq!(quoted("a b; c"), "'a b; c'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }

    #[tokio::test]
    async fn every_line_is_a_comment_or_a_setting() {
        let emulator = Emulator::start().await.unwrap();
        let text = text(&emulator, &emulator.environment());
        for line in text.lines() {
            assert!(line.starts_with('#') || line.starts_with("export "), "{line}");
        }
        let host = format!("export GCE_METADATA_HOST={}", emulator.host());
        assert!(text.lines().any(|line| line == host), "{text}");
    }
}
