//! A person at a browser, played by a program: follows the link that a client opened, fills in the form, sends it, and follows the
//! redirect back to the client. What it sends and reads is what a browser would; only the typing is not human.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use reqwest::header::LOCATION;
use reqwest::redirect::Policy;
use url::{Host, Url};

/// Largest page that is read.
const PAGE_MAX: usize = 64 << 10;

/// Redirects after the form: one to the client, and what it likes.
const HOPS_MAX: usize = 5;

/// Opens `link`, signs in as `email`, and returns the text of the last page.
pub async fn sign_in(link: &str, email: &str) -> Result<String> {
    let client = reqwest::Client::builder()
        .redirect(Policy::none())
        .timeout(Duration::from_secs(20))
        .no_proxy()
        .build()?;
    let link = on_this_machine(Url::parse(link)?)?;
    let page = text(client.get(link.clone()).send().await?).await?;
    let form = Form::find(&page).context("the page has no form to sign in")?;
    let mut fields = form.fields;
    fields.push(("email".to_owned(), email.to_owned()));
    let action = on_this_machine(link.join(&form.action)?)?;
    let mut response = client.post(action).form(&fields).send().await?;
    for _hop in 0..HOPS_MAX {
        if !response.status().is_redirection() {
            return text(response).await;
        }
        let location = response
            .headers()
            .get(LOCATION)
            .and_then(|value| value.to_str().ok())
            .context("a redirect to nowhere")?;
        let next = on_this_machine(response.url().join(location)?)?;
        response = client.get(next).send().await?;
    }
    bail!("more than {HOPS_MAX} redirects")
}

fn on_this_machine(url: Url) -> Result<Url> {
    let here = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    ensure!(
        here && url.scheme() == "http",
        "this browser goes to http on this machine only, not to {}",
        url.origin().ascii_serialization()
    );
    Ok(url)
}

async fn text(mut response: reqwest::Response) -> Result<String> {
    let status = response.status();
    let mut page = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        page.extend_from_slice(&chunk);
        ensure!(
            page.len() <= PAGE_MAX,
            "a page of more than {PAGE_MAX} bytes"
        );
    }
    let page = String::from_utf8_lossy(&page).into_owned();
    ensure!(
        status.is_success(),
        "the page says {status}: {}",
        page.chars().take(300).collect::<String>()
    );
    Ok(page)
}

struct Form {
    action: String,
    fields: Vec<(String, String)>,
}

impl Form {
    /// The form of our own issuer's pages, which this reads and no other.
    fn find(page: &str) -> Option<Self> {
        let form = page.split_once("<form ")?.1;
        let form = form.split_once("</form>")?.0;
        let action = attribute(form, "action")?;
        let fields = form
            .split("<input ")
            .skip(1)
            .filter_map(|input| input.split_once('>').map(|(tag, _)| tag))
            .filter(|tag| attribute(tag, "type").as_deref() == Some("hidden"))
            .filter_map(|tag| Some((attribute(tag, "name")?, attribute(tag, "value")?)))
            .collect();
        Some(Self { action, fields })
    }
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    let value = tag.split_once(&format!("{name}=\""))?.1.split_once('"')?.0;
    Some(
        value
            .replace("&lt;", "<")
            .replace("&gt;", ">")
            .replace("&quot;", "\"")
            .replace("&#39;", "'")
            .replace("&amp;", "&"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let page = r#"<p><form method="post" action="/a?b&amp;c"><input type="hidden" name="state" value="&quot;x&amp;lt;"><input type="email" name="email" value=""></form>"#;
        let form = Form::find(page).unwrap();
        assert_eq!(form.action, "/a?b&c");
        assert_eq!(form.fields, [("state".to_owned(), "\"x&lt;".to_owned())]);
        assert!(Form::find("<p>").is_none());
    }

    #[tokio::test]
    async fn it_stays_on_this_machine() {
        for link in [
            "https://localhost/",
            "http://example.org/",
            "http://localhost.example.org/",
            "file:///etc/passwd",
        ] {
            assert!(
                sign_in(link, "a@b")
                    .await
                    .unwrap_err()
                    .to_string()
                    .contains("this machine"),
                "{link}"
            );
        }
    }
}
