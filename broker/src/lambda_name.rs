//! Names of Lambda functions as AWS has them: a name, a partial or a full ARN, each with a qualifier or without.
//!
//! The configuration checks with it what a Lambda target may be called, and the Invoke API what a request asks for. It must
//! not know whether such a function exists.

/// The longest that Lambda takes, ARN and all.
const BYTES_MAX: usize = 170;
/// An account's number.
const ACCOUNT_DIGITS: usize = 12;

/// The parts of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LambdaName<'a> {
    /// The region of a full ARN.
    pub(crate) region: Option<&'a str>,
    /// The account of an ARN.
    pub(crate) account: Option<&'a str>,
    /// The function.
    pub(crate) name: &'a str,
    /// A version or an alias.
    pub(crate) qualifier: Option<&'a str>,
}

/// Why a text is no name of a Lambda function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LambdaNameError {
    /// It is longer than any.
    #[error("it has more than {BYTES_MAX} bytes")]
    TooLong,
    /// It has too many parts, or too few.
    #[error("it is neither a name nor an ARN of a function")]
    Form,
    /// The name itself.
    #[error("the name is made of letters, digits, `-`, `_` and `.`")]
    Name,
    /// The qualifier.
    #[error("a qualifier is a version, an alias or $LATEST")]
    Qualifier,
    /// The account.
    #[error("an account is {ACCOUNT_DIGITS} digits")]
    Account,
    /// The region.
    #[error("a region is made of a-z, 0-9 and `-`")]
    Region,
}

impl<'a> LambdaName<'a> {
    /// Takes a name apart.
    ///
    /// # Errors
    /// The first part that is wrong.
    pub(crate) fn parse(text: &'a str) -> Result<Self, LambdaNameError> {
        if text.len() > BYTES_MAX {
            return Err(LambdaNameError::TooLong);
        }
        let parts: Vec<&str> = text.split(':').collect();
        let (region, account, rest) = match parts[..] {
            ["arn", partition, "lambda", region, account, "function", ref rest @ ..]
                if partition.starts_with("aws") =>
            {
                (Some(region), Some(account), rest)
            }
            ["arn", ..] => return Err(LambdaNameError::Form),
            [account, "function", ref rest @ ..] if !rest.is_empty() => (None, Some(account), rest),
            ref rest => (None, None, rest),
        };
        let (name, qualifier) = match *rest {
            [name] => (name, None),
            [name, qualifier] => (name, Some(qualifier)),
            _ => return Err(LambdaNameError::Form),
        };
        let parsed = Self { region, account, name, qualifier };
        parsed.check()?;
        Ok(parsed)
    }

    fn check(&self) -> Result<(), LambdaNameError> {
        if self.region.is_some_and(|region| !is_region(region)) {
            return Err(LambdaNameError::Region);
        }
        let is_account =
            |text: &str| text.len() == ACCOUNT_DIGITS && text.bytes().all(|byte| byte.is_ascii_digit());
        if self.account.is_some_and(|account| !is_account(account)) {
            return Err(LambdaNameError::Account);
        }
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if self.name.is_empty() || !self.name.bytes().all(is_name) {
            return Err(LambdaNameError::Name);
        }
        if self.qualifier.is_some_and(|qualifier| !is_qualifier(qualifier)) {
            return Err(LambdaNameError::Qualifier);
        }
        Ok(())
    }
}

/// Whether this can be a region, AWS's or a private one.
pub(crate) fn is_region(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty() && text.bytes().all(allowed)
}

/// Whether this can be a version, an alias or `$LATEST`.
pub(crate) fn is_qualifier(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    text == "$LATEST" || (!text.is_empty() && text.bytes().all(allowed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_form_of_a_name_is_taken_apart() {
        let parse =
            |text| LambdaName::parse(text).map(|name| (name.region, name.account, name.name, name.qualifier));
        assert_eq!(parse("bill"), Ok((None, None, "bill", None)));
        assert_eq!(parse("bill:live"), Ok((None, None, "bill", Some("live"))));
        assert_eq!(parse("function"), Ok((None, None, "function", None)));
        assert_eq!(parse("bill:$LATEST"), Ok((None, None, "bill", Some("$LATEST"))));
        let account = Some("123456789012");
        assert_eq!(parse("123456789012:function:bill"), Ok((None, account, "bill", None)));
        assert_eq!(parse("123456789012:function:bill:3"), Ok((None, account, "bill", Some("3"))));
        let region = Some("eu-west-1");
        let full = "arn:aws:lambda:eu-west-1:123456789012:function:bill";
        assert_eq!(parse(full), Ok((region, account, "bill", None)));
        assert_eq!(parse(&format!("{full}:live")), Ok((region, account, "bill", Some("live"))));
    }

    #[test]
    fn what_is_no_name_is_told_by_its_wrong_part() {
        use LambdaNameError::{Account, Form, Name, Qualifier, Region, TooLong};
        for (text, why) in [
            ("", Name),
            ("a b", Name),
            ("a/b", Name),
            (":live", Name),
            ("bill:", Qualifier),
            ("bill:$NEWEST", Qualifier),
            ("12:function:bill", Account),
            ("a:b:c", Form),
            ("arn:aws:s3:::bucket", Form),
            ("arn:aws:lambda:eu-west-1:123456789012:function", Form),
            ("arn:aws:lambda:eu-west-1:123456789012:layer:x", Form),
            ("arn:aws:lambda:EU:123456789012:function:x", Region),
        ] {
            assert_eq!(LambdaName::parse(text), Err(why), "{text}");
        }
        assert_eq!(LambdaName::parse(&"a".repeat(171)), Err(TooLong));
    }

    proptest! {
        #[test]
        fn parsing_is_total(text in "[a-z0-9:$_. -]{0,60}") {
            if let Ok(name) = LambdaName::parse(&text) {
                prop_assert!(!name.name.is_empty());
            }
        }
    }
}
