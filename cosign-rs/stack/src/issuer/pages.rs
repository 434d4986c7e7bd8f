//! The few pages that a person sees. Everything that came from outside goes through [`escape`].

/// The style of every page, also named in the content security policy by being the only inline style.
const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:26rem;margin:12vh auto;padding:0 1rem;color:#222;background:#fafafa}\
h1{font-size:1.3rem}label{display:block;margin:1rem 0 .2rem}\
input[type=email],input[type=text]{font:inherit;width:100%;padding:.5rem;border:1px solid #aaa;border-radius:4px;box-sizing:border-box}\
button{font:inherit;margin-top:1rem;padding:.5rem 1.2rem;border:0;border-radius:4px;background:#2a5bd7;color:#fff}\
.note{color:#666;font-size:.9rem}code{font-size:1.2rem;user-select:all}";

fn page(title: &str, body: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\
         <meta name=\"viewport\" content=\"width=device-width\"><style>{STYLE}</style></head><body><h1>{title}</h1>{body}\
         <p class=\"note\">This is a development issuer: it believes whatever is typed, and nobody outside this machine trusts it.</p>\
         </body></html>"
    )
}

/// The login form; `hidden` are the parameters of the authorization request, sent back with the address.
pub(super) fn login(action: &str, hidden: &[(&str, &str)], hint: &str) -> String {
    let fields = hidden
        .iter()
        .map(|(name, value)| {
            format!(
                "<input type=\"hidden\" name=\"{}\" value=\"{}\">",
                escape(name),
                escape(value)
            )
        })
        .collect::<Vec<_>>()
        .concat();
    let body = format!(
        "<form method=\"post\" action=\"{}\">{fields}<label for=\"email\">Sign in as</label>\
         <input id=\"email\" type=\"email\" name=\"email\" value=\"{}\" placeholder=\"you@example.org\" required autofocus>\
         <button>Sign in</button></form>",
        escape(action),
        escape(hint)
    );
    page("Sign in", &body)
}

/// Where a person types the code that a device shows.
pub(super) fn device(action: &str, user_code: &str) -> String {
    let body = format!(
        "<form method=\"post\" action=\"{}\"><label for=\"code\">Code shown by the program</label>\
         <input id=\"code\" type=\"text\" name=\"user_code\" value=\"{}\" placeholder=\"BCDF-GHJK\" required>\
         <label for=\"email\">Sign in as</label>\
         <input id=\"email\" type=\"email\" name=\"email\" placeholder=\"you@example.org\" required autofocus>\
         <button>Approve</button></form>",
        escape(action),
        escape(user_code)
    );
    page("Sign in a device", &body)
}

/// For clients without a redirect: the code to copy.
pub(super) fn code(code: &str) -> String {
    page(
        "Copy this code into the program",
        &format!("<p><code>{}</code></p>", escape(code)),
    )
}

/// A sentence.
pub(super) fn message(title: &str, text: &str) -> String {
    page(&escape(title), &format!("<p>{}</p>", escape(text)))
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for symbol in text.chars() {
        match symbol {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_comes_from_outside_cannot_leave_its_place() {
        let page = super::login("/x", &[("state", "\"><script>alert(1)</script>")], "'\"<b>");
        assert!(
            !page.contains("<script>") && !page.contains("<b>"),
            "{page}"
        );
    }
}
