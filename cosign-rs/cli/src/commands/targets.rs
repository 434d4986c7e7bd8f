//! The images that a command is about: named, looked up, and spread over platforms before anything is signed or verified.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use futures_util::future::try_join_all;
use futures_util::{StreamExt as _, stream};
use oci::{
    Credentials, Descriptor, Image, Keychain, Layout, Place, Platform, Reference, Repository,
};
use zeroize::Zeroizing;

use crate::args::{self, Platforms};
use crate::failure::{advice, say};
use crate::tls_files::TlsFiles;

/// The most images of one index that are gone through.
pub(super) const IMAGES_MAX: usize = 1000;
/// The most bytes of their manifests.
pub(super) const BYTES_MAX: usize = 128 << 20;
/// Manifests that are read at a time.
const AT_A_TIME: usize = 6;

/// A registry, the images asked for and the place of their signatures.
pub(super) struct Plan {
    registry: oci::Registry,
    asked: Vec<Asked>,
    elsewhere: Option<Repository>,
}

enum Asked {
    Reference(Reference),
    Folder(PathBuf),
}

impl Asked {
    const fn repository(&self) -> Option<&Repository> {
        match self {
            Self::Reference(reference) => Some(&reference.repository),
            Self::Folder(_) => None,
        }
    }
}

/// One image.
#[derive(Clone)]
pub(super) struct Target {
    /// As it was asked for, and by its digest where it was found in an index.
    pub(super) name: String,
    /// The image's name without tag and digest.
    pub(super) repository: String,
    /// The image.
    pub(super) image: Image,
    /// Where what is attached to it is.
    pub(super) place: Place,
    /// It was named by a tag.
    pub(super) by_tag: bool,
    /// As it was asked for, where that is a name in a registry.
    pub(super) reference: Option<Reference>,
}

impl Target {
    /// The image by its digest.
    pub(super) fn exact(&self) -> String {
        format!("{}@{}", self.repository, self.image.descriptor.digest)
    }
}

impl Plan {
    pub(super) fn new(images: &[String], flags: &args::Registry, local: bool) -> Result<Self> {
        let asked: Vec<Asked> = images
            .iter()
            .map(|image| {
                Ok(if local {
                    Asked::Folder(PathBuf::from(image))
                } else {
                    Asked::Reference(Reference::parse(image)?)
                })
            })
            .collect::<Result<_>>()?;
        Ok(Self {
            registry: registry(flags, asked.iter().filter_map(Asked::repository))?,
            asked,
            elsewhere: elsewhere(flags)?,
        })
    }

    /// One image, looked up by this client.
    pub(super) fn on(
        registry: oci::Registry,
        image: &Reference,
        flags: &args::Registry,
    ) -> Result<Self> {
        Ok(Self {
            registry,
            asked: vec![Asked::Reference(image.clone())],
            elsewhere: elsewhere(flags)?,
        })
    }

    /// The same for an image that is named now: credentials among the flags are for its registry.
    pub(super) fn about(&self, image: &Reference, flags: &args::Registry) -> Result<Self> {
        let registry = match credentials(flags) {
            Some(_) => registry(flags, [&image.repository])?,
            None => self.registry.clone(),
        };
        Self::on(registry, image, flags)
    }

    /// How many images were asked for.
    pub(super) const fn count(&self) -> usize {
        self.asked.len()
    }

    /// Whose images they are, and where it is shown that somebody signs them. Of a local one nobody is shown anything.
    pub(super) fn repositories(&self) -> Vec<&Repository> {
        let own = self.asked.iter().filter_map(Asked::repository);
        own.chain(&self.elsewhere).collect()
    }

    /// The names in registries that were asked for.
    pub(super) fn references(&self) -> Vec<Reference> {
        let names = self.asked.iter().filter_map(|asked| match asked {
            Asked::Reference(reference) => Some(reference.clone()),
            Asked::Folder(_) => None,
        });
        names.collect()
    }

    /// An image by its name, on the same registries.
    pub(super) async fn target(&self, reference: &Reference) -> Result<Target> {
        let asked = Asked::Reference(reference.clone());
        Ok(self.look_up(&asked).await?.1)
    }

    /// All images, before anything is signed: a name that is wrong costs no log entry.
    pub(super) async fn targets(&self, platforms: &Platforms) -> Result<Vec<Target>> {
        let reading = self.asked.iter().map(|asked| self.look_up(asked));
        let mut targets = Vec::new();
        for (source, target) in try_join_all(reading).await? {
            targets.extend(spread(&source, target, platforms).await?);
        }
        Ok(targets)
    }

    async fn look_up(&self, asked: &Asked) -> Result<(Place, Target)> {
        match asked {
            Asked::Reference(reference) => {
                let image = self.registry.image(reference).await?;
                let at = |repository: &Repository| {
                    Place::Registry(self.registry.clone(), repository.clone())
                };
                let target = Target {
                    name: reference.to_string(),
                    repository: reference.repository.to_string(),
                    image,
                    place: at(self.elsewhere.as_ref().unwrap_or(&reference.repository)),
                    by_tag: reference.digest.is_none(),
                    reference: Some(reference.clone()),
                };
                Ok((at(&reference.repository), target))
            }
            Asked::Folder(path) => {
                let layout = layout(path)?;
                let image = layout
                    .image()
                    .with_context(|| format!("the image in {}", path.display()))?;
                let place = Place::Layout(layout);
                let name = path.display().to_string();
                let target = Target {
                    repository: name.clone(),
                    name,
                    image,
                    place: place.clone(),
                    by_tag: false,
                    reference: None,
                };
                Ok((place, target))
            }
        }
    }
}

/// Opens a folder with an image, or an archive of one.
pub(super) fn layout(path: &Path) -> Result<Layout> {
    let opened = if path.is_file() {
        Layout::open_archive(path)
    } else {
        Layout::open(path)
    };
    opened.with_context(|| format!("the local image {}", path.display()))
}

/// Which images of an index are meant. `source` is where the index itself is.
async fn spread(source: &Place, target: Target, platforms: &Platforms) -> Result<Vec<Target>> {
    let all = platforms.recursive || platforms.all_platforms;
    if let Some(platform) = &platforms.platform {
        return Ok(vec![of_platform(source, target, platform).await?]);
    }
    if !all || !target.image.descriptor.is_index() {
        if platforms.all_platforms {
            say(&format!("note: {} is one image and no index", target.name));
        }
        return Ok(vec![target]);
    }
    // An index may hold indexes, and the same image twice.
    let mut found: Vec<Image> = Vec::new();
    let mut seen = BTreeSet::from([target.image.descriptor.digest.to_string()]);
    let mut bytes: usize = 0;
    let mut indexes = vec![target.image.clone()];
    while let Some(index) = indexes.pop() {
        let named: Vec<Descriptor> = children(&target, &index)?
            .into_iter()
            .filter(|child| {
                let unknown = child.platform.as_ref().is_some_and(Platform::is_unknown);
                // Statements of builders about the others are no images of a platform.
                child.is_manifest()
                    && !(platforms.all_platforms && unknown)
                    && seen.insert(child.digest.to_string())
            })
            .collect();
        let too_many = || {
            advice(
                format!(
                    "{}: more than {IMAGES_MAX} images, or {BYTES_MAX} bytes of their manifests",
                    target.name
                ),
                "name those that you mean by their digests",
            )
        };
        if seen.len() > IMAGES_MAX {
            return Err(too_many());
        }
        let mut reading = stream::iter(&named)
            .map(|child| source.manifest(child))
            .buffered(AT_A_TIME);
        while let Some(image) = reading.next().await {
            let image = image.with_context(|| format!("the images of {}", target.name))?;
            bytes = bytes.saturating_add(image.manifest.len());
            if bytes > BYTES_MAX {
                return Err(too_many());
            }
            let is_index = image.descriptor.is_index();
            if is_index {
                indexes.push(image.clone());
            }
            if !is_index || platforms.recursive {
                found.push(image);
            }
        }
    }
    let whole = platforms.recursive.then(|| target.image.clone());
    let targets: Vec<Target> = whole
        .into_iter()
        .chain(found)
        .map(|image| within(&target, image))
        .collect();
    if targets.is_empty() {
        return Err(advice(
            format!("{}: the index holds no image", target.name),
            "nothing would be signed or verified",
        ));
    }
    Ok(targets)
}

async fn of_platform(source: &Place, target: Target, platform: &Platform) -> Result<Target> {
    if !target.image.descriptor.is_index() {
        return Err(advice(
            format!(
                "{} is one image, and no index with one for {platform}",
                target.name
            ),
            "leave --platform out, if this is the image that you mean",
        ));
    }
    let children = children(&target, &target.image)?;
    let mut fitting = children
        .iter()
        .filter(|child| child.platform.as_ref().is_some_and(|of| platform.takes(of)));
    let (Some(child), rest) = (fitting.next(), fitting.count()) else {
        return Err(advice(
            format!("{} has no image for {platform}", target.name),
            format!("it has some for {}", names(&children)),
        ));
    };
    if rest > 0 {
        return Err(advice(
            format!("{} has {} images for {platform}", target.name, rest + 1),
            format!("say which: {}", names(&children)),
        ));
    }
    let image = source
        .manifest(child)
        .await
        .with_context(|| format!("the image of {} for {platform}", target.name))?;
    Ok(within(&target, image))
}

fn children(target: &Target, index: &Image) -> Result<Vec<Descriptor>> {
    index
        .children()
        .with_context(|| format!("{}: the index {}", target.name, index.descriptor.digest))
}

fn names(children: &[Descriptor]) -> String {
    let names: Vec<String> = children
        .iter()
        .filter_map(|child| child.platform.as_ref().map(ToString::to_string))
        .collect();
    names.join(", ")
}

fn within(target: &Target, image: Image) -> Target {
    let digest = image.descriptor.digest;
    let same = digest == target.image.descriptor.digest;
    Target {
        name: if same {
            target.name.clone()
        } else {
            format!("{}@{digest}", target.repository)
        },
        repository: target.repository.clone(),
        image,
        place: target.place.clone(),
        by_tag: target.by_tag,
        reference: target.reference.clone(),
    }
}

/// The repository that holds the signatures, where it is not the image's own.
pub(super) fn elsewhere(flags: &args::Registry) -> Result<Option<Repository>> {
    flags
        .signature_repository
        .as_deref()
        .filter(|name| !name.is_empty())
        .map(Repository::parse)
        .transpose()
        .context("--signature-repository")
}

/// A client, for whom credentials among the flags are those of the registries of these repositories.
pub(super) fn registry<'a>(
    flags: &args::Registry,
    whose: impl IntoIterator<Item = &'a Repository>,
) -> Result<oci::Registry> {
    let mut settings = settings(flags)?;
    if let Some(credentials) = credentials(flags) {
        settings.keychain = Keychain::given(credentials, whose);
    }
    Ok(oci::Registry::new(settings))
}

/// Those among the flags.
fn credentials(flags: &args::Registry) -> Option<Credentials> {
    let secret = |text: &String| Zeroizing::new(text.clone());
    match (
        &flags.registry_token,
        &flags.registry_username,
        &flags.registry_password,
    ) {
        (Some(token), _, _) => Some(Credentials::Bearer(secret(token))),
        (None, Some(user), Some(password)) => Some(Credentials::Password {
            user: user.clone(),
            password: secret(password),
        }),
        _ => None,
    }
}

/// How registries are called, with the credentials of Docker's configuration.
pub(super) fn settings(flags: &args::Registry) -> Result<oci::Settings> {
    let mut settings = oci::Settings {
        keychain: Keychain::Configured,
        plain_http: flags.allow_http_registry,
        ..oci::Settings::default()
    };
    settings.agent.any_certificate = flags.allow_insecure_registry;
    let tls = TlsFiles {
        authorities: flags.registry_cacert.as_ref(),
        certificate: flags.registry_client_cert.as_ref(),
        key: flags.registry_client_key.as_ref(),
        server_name: flags.registry_server_name.as_ref(),
    };
    tls.put_into(&mut settings.agent)?;
    Ok(settings)
}
