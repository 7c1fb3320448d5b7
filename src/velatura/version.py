"""The version of this package, in one place: the build, the command line and manifests read it."""

__version__ = "0.2.0"
