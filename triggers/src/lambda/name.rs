//! How a Lambda function is named: `NAME`, `ACCOUNT:function:NAME` or `arn:aws:lambda:REGION:ACCOUNT:function:NAME`, each
//! with or without `:QUALIFIER` (Lambda API reference, `FunctionName`).

use super::LambdaTargetError;

/// The longest form that Lambda takes.
const NAME_BYTES_MAX: usize = 170;
const ACCOUNT_DIGITS: usize = 12;

/// Why a text names no function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameFault {
    /// It is empty, or one of its parts is.
    #[error("it has an empty part")]
    Empty,
    /// It is longer than Lambda takes.
    #[error("it has more than 170 bytes")]
    TooLong,
    /// A character that names do not have.
    #[error("names are made of a-z, A-Z, 0-9, '_', '-' and '.'")]
    Character,
    /// It has colons, but is none of the forms.
    #[error("it is neither NAME nor ACCOUNT:function:NAME nor arn:aws:lambda:REGION:ACCOUNT:function:NAME")]
    Form,
}

/// A function's name, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionName {
    text: String,
    region: Option<String>,
    account: Option<String>,
    qualifier: Option<String>,
}

impl FunctionName {
    /// Takes a name or an ARN.
    ///
    /// # Errors
    /// [`LambdaTargetError::Name`], [`LambdaTargetError::Region`] or [`LambdaTargetError::Qualifier`].
    pub fn new(text: &str) -> Result<Self, LambdaTargetError> {
        let refuse = |fault| Err(LambdaTargetError::Name { name: text.to_owned(), fault });
        if text.len() > NAME_BYTES_MAX {
            return refuse(NameFault::TooLong);
        }
        let parts: Vec<&str> = text.split(':').collect();
        if parts.iter().any(|part| part.is_empty()) {
            return refuse(NameFault::Empty);
        }
        let (region, account, name, qualifier) = match parts.as_slice() {
            ["arn", partition, "lambda", region, account, "function", name, rest @ ..]
                if rest.len() <= 1 && partition.starts_with("aws") =>
            {
                (Some(*region), Some(*account), *name, rest.first())
            }
            [account, "function", name, rest @ ..] if rest.len() <= 1 => {
                (None, Some(*account), *name, rest.first())
            }
            [name, rest @ ..] if rest.len() <= 1 => (None, None, *name, rest.first()),
            _ => return refuse(NameFault::Form),
        };
        let is_account = |account: &str| {
            account.len() == ACCOUNT_DIGITS && account.bytes().all(|byte| byte.is_ascii_digit())
        };
        if account.is_some_and(|account| !is_account(account)) {
            return refuse(NameFault::Form);
        }
        if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte)) {
            return refuse(NameFault::Character);
        }
        region.map_or(Ok(()), check_region)?;
        qualifier.map_or(Ok(()), |qualifier| check_qualifier(qualifier))?;
        let owned = |part: Option<&str>| part.map(str::to_owned);
        Ok(Self {
            text: text.to_owned(),
            region: owned(region),
            account: owned(account),
            qualifier: owned(qualifier.copied()),
        })
    }

    /// The name as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The ARN's region.
    #[must_use]
    pub fn region(&self) -> Option<&str> {
        self.region.as_deref()
    }

    /// The ARN's account.
    #[must_use]
    pub fn account(&self) -> Option<&str> {
        self.account.as_deref()
    }

    /// The version or alias that it ends in.
    #[must_use]
    pub fn qualifier(&self) -> Option<&str> {
        self.qualifier.as_deref()
    }
}

/// Checks that a region is nothing but a region: it becomes part of a host's name.
pub(super) fn check_region(region: &str) -> Result<(), LambdaTargetError> {
    let is_region = !region.is_empty()
        && region.split('-').all(|part| {
            !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        });
    if is_region { Ok(()) } else { Err(LambdaTargetError::Region { region: region.to_owned() }) }
}

pub(super) fn check_qualifier(qualifier: &str) -> Result<(), LambdaTargetError> {
    let is_qualifier = !qualifier.is_empty()
        && qualifier.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-$".contains(&byte));
    if is_qualifier { Ok(()) } else { Err(LambdaTargetError::Qualifier { qualifier: qualifier.to_owned() }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_name_is_taken_apart() {
        for (text, region, account, qualifier) in [
            ("ship", None, None, None),
            ("ship_it-2.0", None, None, None),
            ("ship:live", None, None, Some("live")),
            ("ship:$LATEST", None, None, Some("$LATEST")),
            ("123456789012:function:ship", None, Some("123456789012"), None),
            ("123456789012:function:ship:7", None, Some("123456789012"), Some("7")),
            (
                "arn:aws:lambda:eu-central-1:123456789012:function:ship",
                Some("eu-central-1"),
                Some("123456789012"),
                None,
            ),
            (
                "arn:aws-cn:lambda:cn-north-1:123456789012:function:ship:live",
                Some("cn-north-1"),
                Some("123456789012"),
                Some("live"),
            ),
        ] {
            let name = FunctionName::new(text).unwrap();
            assert_eq!(
                (name.as_str(), name.region(), name.account(), name.qualifier()),
                (text, region, account, qualifier)
            );
        }
    }

    #[test]
    fn what_names_no_function_is_refused() {
        for (text, fault) in [
            ("", NameFault::Empty),
            ("ship:", NameFault::Empty),
            ("arn:aws:lambda::123456789012:function:ship", NameFault::Empty),
            ("ship it", NameFault::Character),
            ("../ship", NameFault::Character),
            ("ship?x", NameFault::Character),
            ("a:b:c", NameFault::Form),
            ("12:function:ship", NameFault::Form),
            ("arn:aws:s3:eu-central-1:123456789012:function:ship", NameFault::Form),
            ("arn:aws:lambda:eu-central-1:123456789012:layer:ship", NameFault::Form),
            (&"a".repeat(171), NameFault::TooLong),
        ] {
            let refused = FunctionName::new(text).unwrap_err();
            assert_eq!(refused, LambdaTargetError::Name { name: text.to_owned(), fault });
        }
        let elsewhere = "arn:aws:lambda:x.evil.example/:123456789012:function:ship";
        assert!(matches!(FunctionName::new(elsewhere), Err(LambdaTargetError::Region { .. })));
        assert!(matches!(FunctionName::new("ship:a b"), Err(LambdaTargetError::Qualifier { .. })));
    }
}
