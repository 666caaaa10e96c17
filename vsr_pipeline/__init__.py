"""Unattended video super-resolution built around RealBasicVSR.

Importing the package is cheap: neither torch nor av is loaded before something needs them.
"""

__version__ = "0.1.0"
