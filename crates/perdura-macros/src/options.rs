//! What stands in the parentheses of the attribute.

use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::{Ident, LitStr, Token};

/// `name = "..."`, `version = "..."`; of activities also `transactional`, `precise` and `at_most_once`, with a policy or
/// without.
#[derive(Default)]
pub struct Options {
    pub name: Option<LitStr>,
    pub version: Option<LitStr>,
    /// How often an activity may run, as history keeps it.
    pub delivery: Option<String>,
    /// How long an operation of an entity may take, in ms.
    pub time_max: Option<(Ident, u64)>,
    /// Whether an activity writes in the transaction of its completion.
    pub transactional: bool,
}

const KNOWN: &str = "the options are `name` and `version`, of activities `transactional`, `precise` and `at_most_once`, and of entities `time_max`";

impl Parse for Options {
    fn parse(input: ParseStream<'_>) -> syn::Result<Options> {
        let mut options = Options::default();
        for Setting { key, value } in Punctuated::<Setting, Token![,]>::parse_terminated(input)? {
            if key == "transactional" && value.is_none() {
                options.transactional = true;
                continue;
            }
            let delivery = match (key.to_string().as_str(), &value) {
                ("precise", None) => Some("precise".to_owned()),
                ("at_most_once", None) => Some("fail".to_owned()),
                ("at_most_once", Some(policy)) => Some(checked(policy)?),
                ("precise", Some(value)) => {
                    return Err(syn::Error::new(value.span(), "`precise` takes no value"));
                }
                _ => None,
            };
            if let Some(delivery) = delivery {
                if options.delivery.replace(delivery).is_some() {
                    return Err(syn::Error::new(key.span(), "it is said twice how often it may run"));
                }
                continue;
            }
            if key == "time_max" {
                let Some(value) = value else {
                    return Err(syn::Error::new(key.span(), TIME));
                };
                let time = time(&value.value()).ok_or_else(|| syn::Error::new(value.span(), TIME))?;
                if options.time_max.replace((key.clone(), time)).is_some() {
                    return Err(syn::Error::new(key.span(), "`time_max` is given twice"));
                }
                continue;
            }
            let place = match key.to_string().as_str() {
                "name" => &mut options.name,
                "version" => &mut options.version,
                _ => return Err(syn::Error::new(key.span(), KNOWN)),
            };
            let Some(value) = value else {
                return Err(syn::Error::new(key.span(), format!("`{key}` needs a value: `{key} = \"..\"`")));
            };
            if value.value().is_empty() {
                return Err(syn::Error::new(value.span(), format!("`{key}` must not be empty")));
            }
            if place.replace(value).is_some() {
                return Err(syn::Error::new(key.span(), format!("`{key}` is given twice")));
            }
        }
        if options.transactional && options.delivery.is_some() {
            let text =
                "a transactional activity counts exactly once: it needs neither `precise` nor `at_most_once`";
            return Err(input.error(text));
        }
        Ok(options)
    }
}

const TIME: &str = "`time_max` is a time, like \"500ms\", \"30s\", \"5m\" or \"1h\"";

/// A time in ms.
fn time(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let unit = match &text[digits..] {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    text[..digits].parse::<u64>().ok()?.checked_mul(unit).filter(|ms| *ms > 0)
}

/// A policy for unknown outcomes.
fn checked(policy: &LitStr) -> syn::Result<String> {
    let text = policy.value();
    let has_name = text.strip_prefix("handler:").is_some_and(|name| !name.is_empty());
    match text.as_str() {
        "fail" | "suspend" => Ok(text),
        _ if has_name => Ok(text),
        _ => Err(syn::Error::new(policy.span(), "use \"fail\", \"suspend\" or \"handler:NAME\"")),
    }
}

struct Setting {
    key: Ident,
    value: Option<LitStr>,
}

impl Parse for Setting {
    fn parse(input: ParseStream<'_>) -> syn::Result<Setting> {
        let key = input.parse()?;
        if !input.peek(Token![=]) {
            return Ok(Setting { key, value: None });
        }
        input.parse::<Token![=]>()?;
        Ok(Setting { key, value: Some(input.parse()?) })
    }
}
