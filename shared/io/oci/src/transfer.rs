//! Blobs of any size, piece by piece: memory holds one piece. A download that breaks off goes on where it was; an upload asks the registry how
//! far it came (distribution spec 1.1, "Pushing a blob in chunks").

use std::fmt;

use bytes::Bytes;
use client::{Answer, Call, Repeat};
use http::Method;
use http::header::{CONTENT_RANGE, RANGE};
use keys::{Digest, Hasher};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use url::Url;

use crate::auth::Access;
use crate::error::OciError;
use crate::manifest::Descriptor;
use crate::reference::Repository;
use crate::registry::{Registry, unanswered, upload_target};

/// What is sent at a time. Some registries refuse pieces of less than 5 MiB.
const CHUNK: usize = 8 << 20;
/// The largest piece that a registry may ask for (`OCI-Chunk-Min-Length`).
const CHUNK_MAX: usize = 64 << 20;
/// How often one transfer goes on after it broke off.
const RESUMES: u32 = 5;

impl Registry {
    /// Reads a blob of any size, piece by piece. What was written to `sink` is the blob only if this succeeds.
    pub async fn blob_into(
        &self,
        at: &Repository,
        descriptor: &Descriptor,
        sink: &mut (impl AsyncWrite + Unpin),
    ) -> Result<(), OciError> {
        let what = format!("reading {} of {at}", descriptor.digest);
        let failed = |why: &dyn fmt::Display| OciError::Malformed {
            what: what.clone(),
            why: why.to_string(),
        };
        let mut hasher = Hasher::new(descriptor.digest.algorithm());
        let mut done: u64 = 0;
        let mut resumed = 0;
        loop {
            let (mut response, mut skip) =
                self.open_blob(&what, at, &descriptor.digest, done).await?;
            let broken = loop {
                let piece = match response.chunk().await {
                    Ok(Some(piece)) => piece,
                    Ok(None) => break None,
                    Err(error) => break Some(error.without_url()),
                };
                // A registry that begins at the beginning again: that part is here already.
                let already = usize::try_from(skip).unwrap_or(usize::MAX).min(piece.len());
                skip = skip.saturating_sub(length(already));
                let piece = piece.get(already..).unwrap_or_default();
                done = done.saturating_add(length(piece.len()));
                if done > descriptor.size {
                    return Err(failed(&"more bytes than the descriptor says"));
                }
                hasher.update(piece);
                sink.write_all(piece)
                    .await
                    .map_err(|error| failed(&error))?;
            };
            if done == descriptor.size {
                break;
            }
            resumed += 1;
            if resumed > RESUMES {
                let why = broken.map_or_else(
                    || format!("{done} of {} bytes came", descriptor.size),
                    |error| error.to_string(),
                );
                return Err(failed(&why));
            }
            tracing::debug!(digest = %descriptor.digest, done, "going on with a download");
        }
        sink.flush().await.map_err(|error| failed(&error))?;
        let found = hasher.finish();
        if found != descriptor.digest {
            return Err(OciError::Digest {
                what,
                found: found.to_string(),
            });
        }
        Ok(())
    }

    /// Begins to read a blob at a byte; beside it how many bytes come that were not asked for.
    async fn open_blob(
        &self,
        what: &str,
        at: &Repository,
        digest: &Digest,
        from: u64,
    ) -> Result<(client::Response, u64), OciError> {
        let mut call = Call::get(self.blob_url(at, digest)?);
        if from > 0 {
            call = call.header(RANGE, &format!("bytes={from}-"));
        }
        let response = self.open(what, at, Access::Read, call).await?;
        match response.status().as_u16() {
            200 => Ok((response, from)),
            206 if from > 0 => Ok((response, 0)),
            404 => Err(OciError::NotFound {
                what: what.to_owned(),
            }),
            status => Err(OciError::Malformed {
                what: what.to_owned(),
                why: format!("{} answers {status}", at.host()),
            }),
        }
    }

    /// Uploads a blob from a stream, unless it is there already. The stream must have exactly the bytes of the descriptor.
    pub async fn push_blob_from(
        &self,
        at: &Repository,
        descriptor: &Descriptor,
        source: &mut (impl AsyncRead + Unpin),
    ) -> Result<(), OciError> {
        let what = format!("writing {} to {at}", descriptor.digest);
        if self
            .has_blob_to_write(&what, at, &descriptor.digest)
            .await?
        {
            return Ok(());
        }
        if descriptor.size <= length(CHUNK) {
            let content = read_chunk(&what, source, CHUNK + 1).await?;
            check(
                &what,
                descriptor,
                length(content.len()),
                Digest::of(descriptor.digest.algorithm(), &content),
            )?;
            return self.put_blob(&what, at, &descriptor.digest, content).await;
        }
        let begun = self.begin_upload(&what, at).await?;
        let least = begun
            .header("oci-chunk-min-length")
            .and_then(|text| text.parse::<usize>().ok())
            .unwrap_or(0);
        let size = CHUNK.max(least.min(CHUNK_MAX));
        let mut target = upload_target(&what, &begun)?;
        let mut hasher = Hasher::new(descriptor.digest.algorithm());
        let mut done: u64 = 0;
        loop {
            let piece = read_chunk(&what, source, size).await?;
            if piece.is_empty() {
                break;
            }
            hasher.update(&piece);
            let begin = done;
            done = done.saturating_add(length(piece.len()));
            if done > descriptor.size {
                break;
            }
            target = self.send_chunk(&what, at, target, begin, piece).await?;
        }
        let checked = check(&what, descriptor, done, hasher.finish());
        if checked.is_err() {
            // An abandoned upload goes away by itself; this only makes it sooner.
            self.cancel_upload(&what, at, target).await;
            return checked;
        }
        self.finish_upload(&what, at, target, &descriptor.digest, Bytes::new())
            .await
    }

    /// Sends one piece, and what is missing of it again if the answer does not come; gives where the next one goes.
    async fn send_chunk(
        &self,
        what: &str,
        at: &Repository,
        target: Url,
        begin: u64,
        piece: Bytes,
    ) -> Result<Url, OciError> {
        let end = begin.saturating_add(length(piece.len()));
        let mut target = target;
        let mut from = begin;
        let mut resumed = 0;
        loop {
            let skip = usize::try_from(from.saturating_sub(begin)).unwrap_or(usize::MAX);
            let rest = piece.slice(skip.min(piece.len())..);
            // The range has an end that is sent, and no unit.
            let range = format!("{from}-{}", end.saturating_sub(1));
            let call = Call::new(Method::PATCH, target.clone())
                .body("application/octet-stream", rest)
                .header(CONTENT_RANGE, &range)
                .repeat(Repeat::Unsent);
            let refused = match self.send_upload(what, at, call).await {
                Ok(answer) if matches!(answer.status.as_u16(), 202 | 204 | 201) => {
                    return upload_target(what, &answer);
                }
                // What it says to a piece that it has, or to one that comes too early.
                Ok(answer) if matches!(answer.status.as_u16(), 416 | 500 | 502 | 504) => {
                    OciError::Refused {
                        what: what.to_owned(),
                        refused: answer.refused(),
                    }
                }
                Ok(answer) => return self.check(what, at, answer, &[202]).map(|_| target),
                Err(error) => error,
            };
            resumed += 1;
            if resumed > RESUMES {
                return Err(refused);
            }
            let asked = self
                .send_upload(what, at, Call::get(target.clone()))
                .await?;
            let asked = self.check(what, at, asked, &[200, 202, 204])?;
            let has = received(&asked);
            if has < begin || has > end {
                return Err(OciError::Malformed {
                    what: what.to_owned(),
                    why: format!("the registry has {has} bytes, and {begin} to {end} were sent"),
                });
            }
            tracing::debug!(has, "going on with an upload");
            target = upload_target(what, &asked).unwrap_or(target);
            if has == end {
                return Ok(target);
            }
            from = has;
        }
    }
}

/// `Range: 0-99` (the distribution spec's form): how many bytes the registry has. `0-0` is what some say of none.
fn received(answer: &Answer) -> u64 {
    let last = answer
        .header(RANGE.as_str())
        .map(|text| text.trim_start_matches("bytes="))
        .and_then(|text| text.split_once('-'))
        .and_then(|(_, last)| last.trim().parse::<u64>().ok());
    match last {
        None | Some(0) => 0,
        Some(last) => last.saturating_add(1),
    }
}

fn check(what: &str, descriptor: &Descriptor, size: u64, digest: Digest) -> Result<(), OciError> {
    if size != descriptor.size {
        return Err(OciError::Malformed {
            what: what.to_owned(),
            why: format!(
                "the source has {size} bytes or more, the descriptor says {}",
                descriptor.size
            ),
        });
    }
    if digest != descriptor.digest {
        return Err(OciError::Malformed {
            what: what.to_owned(),
            why: format!("the source has the digest {digest}"),
        });
    }
    Ok(())
}

/// The next `size` bytes, or what there is.
async fn read_chunk(
    what: &str,
    source: &mut (impl AsyncRead + Unpin),
    size: usize,
) -> Result<Bytes, OciError> {
    let mut piece = Vec::new();
    source
        .take(length(size))
        .read_to_end(&mut piece)
        .await
        .map_err(|error| OciError::Malformed {
            what: what.to_owned(),
            why: error.to_string(),
        })?;
    Ok(piece.into())
}

fn length(size: usize) -> u64 {
    u64::try_from(size).unwrap_or(u64::MAX)
}

impl Registry {
    /// A call of an upload: our token is for the registry only, not for whoever stores its blobs.
    pub(crate) async fn send_upload(
        &self,
        what: &str,
        at: &Repository,
        call: Call,
    ) -> Result<Answer, OciError> {
        if call.url().origin() == self.base(at)?.origin() {
            self.send(what, at, Access::Write, call).await
        } else {
            self.agent()
                .send(&call)
                .await
                .map_err(|source| unanswered(what, source))
        }
    }
}
