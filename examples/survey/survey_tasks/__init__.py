"""Tasks of the sample app. Installed on the server and on the workers; imports neither Flask nor models."""
