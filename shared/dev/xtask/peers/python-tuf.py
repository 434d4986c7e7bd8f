# usage: python python-tuf.py URL ROOT CACHE TARGET...
# Follows a TUF repository with python-tuf from the given root, and fetches targets; prints the version of the root it came to.
import os
import sys

from tuf.ngclient import Updater, UpdaterConfig

url, root, cache, *targets = sys.argv[1:]
os.makedirs(os.path.join(cache, "targets"), exist_ok=True)
with open(root, "rb") as file:
    bootstrap = file.read()
updater = Updater(
    metadata_dir=cache,
    metadata_base_url=url,
    target_base_url=f"{url}/targets",
    target_dir=os.path.join(cache, "targets"),
    config=UpdaterConfig(),
    bootstrap=bootstrap,
)
updater.refresh()
for name in targets:
    info = updater.get_targetinfo(name)
    if info is None:
        sys.exit(f"no target {name}")
    updater.download_target(info)
print(updater._trusted_set.root.version)
