//! What stands in the parentheses of the attribute.

use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::{Ident, LitStr, Token};

/// `name = "..."`, `version = "..."`; both optional.
#[derive(Default)]
pub struct Options {
    pub name: Option<LitStr>,
    pub version: Option<LitStr>,
}

impl Parse for Options {
    fn parse(input: ParseStream<'_>) -> syn::Result<Options> {
        let mut options = Options::default();
        for Setting { key, value } in Punctuated::<Setting, Token![,]>::parse_terminated(input)? {
            let place = match key.to_string().as_str() {
                "name" => &mut options.name,
                "version" => &mut options.version,
                _ => return Err(syn::Error::new(key.span(), "the options are `name` and `version`")),
            };
            if value.value().is_empty() {
                return Err(syn::Error::new(value.span(), format!("`{key}` must not be empty")));
            }
            if place.replace(value).is_some() {
                return Err(syn::Error::new(key.span(), format!("`{key}` is given twice")));
            }
        }
        Ok(options)
    }
}

struct Setting {
    key: Ident,
    value: LitStr,
}

impl Parse for Setting {
    fn parse(input: ParseStream<'_>) -> syn::Result<Setting> {
        let key = input.parse()?;
        input.parse::<Token![=]>()?;
        Ok(Setting { key, value: input.parse()? })
    }
}
