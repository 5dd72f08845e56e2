//! Configuration files.

use eventail_broker::config::Config;

/// A value that must not show anywhere.
const SECRET: &str = "a-value-that-nobody-may-see";

/// A configuration file. What is wrong with it is told with its place; a secret is told by nobody.
pub fn configs(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let environment = |name: &str| match name {
        "SECRET" => Some(SECRET.to_owned()),
        "NAME" => Some("orders".to_owned()),
        _ => None,
    };
    let told = match Config::parse("/nonexistent/eventail.toml", &text, &environment) {
        Ok(config) => {
            // The same text is the same configuration.
            let again = Config::parse("/nonexistent/eventail.toml", &text, &environment);
            assert_eq!(again.expect("it was read before").triggers.len(), config.triggers.len());
            format!("{config:?}")
        }
        Err(errors) => {
            let told = errors.to_string();
            assert!(!told.is_empty(), "an error without a word");
            format!("{told}\n{errors:?}")
        }
    };
    // `${SECRET}` in any string but a secret is text that the operator wrote into the file.
    if !text.contains("${") {
        assert!(!told.contains(SECRET), "a secret was told: {told}");
    }
}
