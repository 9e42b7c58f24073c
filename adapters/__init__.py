"""The outside world, each room one system translated to and from the domain; rooms never import each other."""
