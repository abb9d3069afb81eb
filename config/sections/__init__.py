"""The sections of the settings, by subject; everybody else imports them from `config.settings`."""
