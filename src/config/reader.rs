//! Reads settings one by one and goes on after a mistake, so that all of them are told at once.

use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;

use super::{ConfigError, Mistake, Settings};

pub(super) struct Reader<'s> {
    settings: &'s Settings,
    mistakes: Vec<Mistake>,
}

impl<'s> Reader<'s> {
    pub(super) fn new(settings: &'s Settings) -> Self {
        Self { settings, mistakes: Vec::new() }
    }

    /// What the reading gives, if nothing was wrong.
    pub(super) fn finish<T>(self, value: Option<T>) -> Result<T, ConfigError> {
        match value {
            Some(value) if self.mistakes.is_empty() => Ok(value),
            _ => Err(ConfigError { mistakes: self.mistakes }),
        }
    }

    /// Notes a mistake.
    pub(super) fn mistake(&mut self, setting: &'static str, message: impl Display) {
        self.mistakes.push(Mistake { setting, message: message.to_string() });
    }

    /// Whether a mistake in this setting was noted.
    pub(super) fn has_mistake(&self, setting: &str) -> bool {
        self.mistakes.iter().any(|mistake| mistake.setting == setting)
    }

    /// Whether it is set at all, rightly or not.
    pub(super) fn is_set(&self, name: &str) -> bool {
        self.settings.value(name).is_some()
    }

    /// A path, which need not be UTF-8.
    pub(super) fn path(&self, name: &str) -> Option<PathBuf> {
        self.settings.value(name).map(PathBuf::from)
    }

    pub(super) fn text(&mut self, name: &'static str) -> Option<&'s str> {
        let value = self.settings.value(name)?;
        let text = value.to_str();
        if text.is_none() {
            self.mistake(name, format!("found {value:?}, which is not UTF-8 text"));
        }
        text
    }

    /// A setting of a type that says itself what is wrong.
    pub(super) fn parsed<T: FromStr<Err: Display>>(&mut self, name: &'static str) -> Option<T> {
        let text = self.text(name)?;
        text.parse().map_err(|error| self.mistake(name, error)).ok()
    }

    /// A setting whose type cannot say well what is expected.
    pub(super) fn expected<T: FromStr>(
        &mut self,
        name: &'static str,
        expected: &str,
        fits: impl Fn(&T) -> bool,
    ) -> Option<T> {
        let text = self.text(name)?;
        let value = text.parse().ok().filter(fits);
        if value.is_none() {
            self.mistake(name, format!("found {text:?}, expected {expected}"));
        }
        value
    }

    /// A comma-separated list; each bad entry is told. White space around entries does not count.
    pub(super) fn list<T: FromStr<Err: Display>>(&mut self, name: &'static str) -> Option<Vec<T>> {
        let entries = self.text(name)?.split(',').map(str::trim);
        let mut list = Vec::new();
        for entry in entries {
            match entry.parse() {
                Ok(value) => list.push(value),
                Err(error) => self.mistake(name, error),
            }
        }
        Some(list)
    }
}
