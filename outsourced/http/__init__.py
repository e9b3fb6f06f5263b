"""The worker's way to its server: HTTPS, with an access token, through whatever lies in between."""
