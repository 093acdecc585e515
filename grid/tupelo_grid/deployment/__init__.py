"""The deployment manager: starts, watches, scales and drains the processes of a grid."""

from tupelo_grid.deployment.local import LocalDeployment

__all__ = ["LocalDeployment"]
