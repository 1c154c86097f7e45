"""The portal: server-rendered pages that live on server-sent events; nothing to build."""
