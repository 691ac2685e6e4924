//! Where a running emulator is, for what asks it for something.

use url::Url;

use super::reader::Reader;
use super::{ConfigError, Settings};
use crate::identity::audience::is_loopback;

/// Where `countersign emulator` listens unless it is told otherwise.
const DEFAULT_URL: &str = "http://127.0.0.1:9090";

/// A running emulator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmulatorConfig {
    /// Its main port's URL, with the path `/`.
    pub url: Url,
}

impl EmulatorConfig {
    /// The emulator at `url` where one is given, else the one that `GCE_METADATA_HOST` points to (as it does for the
    /// command of `countersign emulator -- COMMAND`), else the one at its default port.
    ///
    /// # Errors
    /// When what is given is no URL of a port on loopback: emulators listen nowhere else.
    pub fn read(settings: &Settings, url: Option<&str>) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(settings);
        let url = match url {
            Some(text) => located(&mut reader, "--emulator", text),
            None => match reader.text("GCE_METADATA_HOST") {
                Some(host) => located(&mut reader, "GCE_METADATA_HOST", host),
                None => located(&mut reader, "--emulator", DEFAULT_URL),
            },
        };
        reader.finish(url.map(|url| Self { url }))
    }
}

/// `http://HOST:PORT`, or `HOST:PORT` as metadata servers are written.
fn located(reader: &mut Reader<'_>, setting: &'static str, text: &str) -> Option<Url> {
    let whole = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let url = Url::parse(&whole).ok().filter(|url| {
        url.scheme() == "http"
            && is_loopback(url)
            && url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none()
    });
    if url.is_none() {
        reader.mistake(
            setting,
            format_args!(
                "found {text:?}, expected the address of an emulator on this machine, for example {DEFAULT_URL}"
            ),
        );
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)], url: Option<&str>) -> Result<String, String> {
        EmulatorConfig::read(&Settings::from_pairs(pairs.iter().copied()), url)
            .map(|config| config.url.to_string())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_flag_wins_over_the_environment_and_both_over_the_default() {
        let host = [("GCE_METADATA_HOST", "127.0.0.1:4000")];
        assert_eq!(read(&[], None).unwrap(), "http://127.0.0.1:9090/");
        assert_eq!(read(&host, None).unwrap(), "http://127.0.0.1:4000/");
        assert_eq!(read(&host, Some("http://[::1]:5000")).unwrap(), "http://[::1]:5000/");
        assert_eq!(read(&host, Some("localhost:5000")).unwrap(), "http://localhost:5000/");
    }

    #[test]
    fn what_is_not_on_this_machine_is_no_emulator() {
        for wrong in [
            "metadata.google.internal",
            "https://127.0.0.1:9090",
            "http://127.0.0.1.evil.example",
            "http://127.0.0.1:9090/x",
            "http://user@127.0.0.1:9090",
            "http://127.0.0.1:9090/?x",
            "",
            "http://",
        ] {
            let error = read(&[], Some(wrong)).unwrap_err();
            assert!(error.contains("--emulator") && error.contains("127.0.0.1:9090"), "{error}");
        }
        let error = read(&[("GCE_METADATA_HOST", "169.254.169.254")], None).unwrap_err();
        assert!(error.contains("GCE_METADATA_HOST") && error.contains("169.254"), "{error}");
    }
}
